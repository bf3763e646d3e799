// The drawing area: boxes that are drawn, moved, resized and removed by pointer or keyboard.
//
// A box is {box: [x1, y1, x2, y2] in [0, 1], name, attribute}. A drag in the selected box moves it, a drag on one of its
// handles resizes it, and every other drag draws a new box, so that boxes can be drawn inside of others. A click selects
// the smallest box there; a second click the next larger one.

const HANDLES = ["n w", "n e", "s w", "s e"];
const SMALLEST = 0.02; // side of a box
const STEP = 0.01; // of a key press
const CLICK = 4; // pixels that a click may move

const limit = (value) => Math.min(1, Math.max(0, value));
const area = ({ box: [x1, y1, x2, y2] }) => (x2 - x1) * (y2 - y1);
const percent = (value) => Math.round(100 * value);

// Puts an element where a box is.
export function place(element, [x1, y1, x2, y2]) {
  Object.assign(element.style, {
    left: `${100 * x1}%`, top: `${100 * y1}%`, width: `${100 * (x2 - x1)}%`, height: `${100 * (y2 - y1)}%`,
  });
}

// The class and colour of an attribute: from green for the easiest to red for the hardest, grey for background.
export function dress(element, attribute, words) {
  const level = words.indexOf(attribute);
  const levels = words.length - 1;
  const hue = 150 - (150 * level) / Math.max(1, levels - 1);
  const colour = level < 0 ? "#1f5fbf" : level === levels ? "#5f6b76" : `hsl(${hue} 75% 32%)`;
  element.style.setProperty("--colour", colour);
  element.classList.toggle("last", level >= 0 && level === levels - 1 && levels > 1);
  element.classList.toggle("ground", level >= 0 && level === levels);
}

export class BoxEditor {
  // changed(finished) is called after every change; `finished` is false while something is dragged.
  constructor(stage, { words, most, changed, added }) {
    Object.assign(this, { stage, words, most, changed, added });
    this.boxes = [];
    this.selected = null;
    this.past = [];
    this.drag = null;
    stage.addEventListener("pointerdown", (event) => this.#down(event));
    stage.addEventListener("pointermove", (event) => this.#move(event));
    stage.addEventListener("pointerup", (event) => this.#up(event));
    stage.addEventListener("pointercancel", () => this.#stop());
    stage.addEventListener("keydown", (event) => this.#key(event));
  }

  // Replaces all boxes.
  open(boxes) {
    this.remember();
    this.boxes = structuredClone(boxes);
    this.selected = null;
    this.draw();
    this.changed(true);
  }

  // Adds a box, in the middle by default, and selects it.
  add(box = [0.35, 0.35, 0.65, 0.65]) {
    if (this.boxes.length >= this.most) return;
    this.remember();
    this.boxes.push({ box, ...this.added() });
    this.draw();
    this.changed(true);
    this.select(this.boxes.length - 1);
  }

  remove(index) {
    this.remember();
    this.boxes.splice(index, 1);
    this.selected = null;
    this.draw();
    this.changed(true);
    if (this.boxes.length) this.select(Math.min(index, this.boxes.length - 1));
    else this.stage.focus({ preventScroll: true });
  }

  edit(index, values) {
    this.remember();
    Object.assign(this.boxes[index], values);
    this.draw();
    this.changed(true);
  }

  // Selects a box; null selects none.
  select(index, focus = true) {
    this.selected = index;
    [...this.stage.children].forEach((element, i) => element.classList.toggle("selected", i === index));
    if (focus && index !== null) this.stage.children[index].focus({ preventScroll: true });
    this.changed(false);
  }

  // Notes the present boxes, to return to them by undo().
  remember() {
    this.past.push(JSON.stringify(this.boxes));
    if (this.past.length > 100) this.past.shift();
  }

  undo() {
    if (!this.past.length) return;
    this.boxes = JSON.parse(this.past.pop());
    this.selected = null;
    this.draw();
    this.changed(true);
  }

  draw() {
    while (this.stage.children.length > this.boxes.length) this.stage.lastChild.remove();
    while (this.stage.children.length < this.boxes.length) this.stage.append(this.#element());
    this.boxes.forEach((one, index) => this.#show(this.stage.children[index], one, index));
  }

  #element() {
    const element = document.createElement("div");
    element.className = "box";
    element.tabIndex = 0;
    element.setAttribute("role", "group");
    element.setAttribute("aria-roledescription", "box");
    element.append(document.createElement("span"));
    for (const handle of HANDLES) {
      const corner = document.createElement("i");
      corner.className = `handle ${handle}`;
      element.append(corner);
    }
    element.addEventListener("focus", () => {
      const index = [...this.stage.children].indexOf(element);
      if (index !== this.selected) this.select(index, false);
    });
    return element;
  }

  #show(element, { box, name, attribute }, index) {
    place(element, box);
    dress(element, attribute, this.words);
    const title = [name || "no class", attribute].filter(Boolean).join(", ");
    element.firstChild.textContent = title;
    element.classList.toggle("selected", index === this.selected);
    const [x1, y1, x2, y2] = box.map(percent);
    element.setAttribute("aria-label",
      `Box ${index + 1} of ${this.boxes.length}: ${title}; left ${x1}, top ${y1}, width ${x2 - x1}, height ${y2 - y1} percent`);
  }

  // Position of the pointer in [0, 1].
  #point(event) {
    const area = this.stage.getBoundingClientRect();
    return [
      limit((event.clientX - area.left - this.stage.clientLeft) / this.stage.clientWidth),
      limit((event.clientY - area.top - this.stage.clientTop) / this.stage.clientHeight),
    ];
  }

  // Handle of the selected box under the pointer, as "n w", or undefined.
  #handle([x, y]) {
    const [x1, y1, x2, y2] = this.boxes[this.selected].box;
    const near = (a, b, side) => Math.abs(a - b) * side < 11;
    return HANDLES.find((handle) =>
      near(x, handle.includes("w") ? x1 : x2, this.stage.clientWidth) &&
      near(y, handle.includes("n") ? y1 : y2, this.stage.clientHeight));
  }

  #under([x, y]) {
    const inside = ({ box: [x1, y1, x2, y2] }) => x >= x1 && x <= x2 && y >= y1 && y <= y2;
    return [...this.boxes.keys()].filter((i) => inside(this.boxes[i])).sort((a, b) => area(this.boxes[a]) - area(this.boxes[b]));
  }

  #down(event) {
    if (event.button) return;
    event.preventDefault();
    this.stage.setPointerCapture(event.pointerId);
    const start = this.#point(event);
    const chosen = this.selected === null ? null : this.boxes[this.selected];
    const handle = chosen && this.#handle(start);
    const moves = chosen && !handle && this.#under(start).includes(this.selected);
    this.drag = { start, at: [event.clientX, event.clientY], handle, kind: handle ? "resize" : moves ? "move" : "draw", moved: false };
    if (chosen) this.drag.box = [...chosen.box];
  }

  #move(event) {
    const drag = this.drag;
    if (!drag) return;
    if (!drag.moved) {
      if (Math.hypot(event.clientX - drag.at[0], event.clientY - drag.at[1]) < CLICK) return;
      drag.moved = true;
      if (drag.kind === "draw") {
        if (this.boxes.length >= this.most) return this.#stop();
        this.add([...drag.start, ...drag.start]);
        drag.handle = "s e";
        drag.box = [...drag.start, ...drag.start];
      } else this.remember();
    }
    const [x, y] = this.#point(event);
    const chosen = this.boxes[this.selected];
    chosen.box = drag.kind === "move"
      ? shifted(drag.box, x - drag.start[0], y - drag.start[1])
      : stretched(drag.box, drag.handle, x, y);
    this.draw();
    this.changed(false);
  }

  #up(event) {
    const drag = this.drag;
    if (!drag) return;
    if (!drag.moved) {
      const under = this.#under(this.#point(event));
      const next = under[(under.indexOf(this.selected) + 1) % under.length];
      if (under.length) this.select(next);
      else {
        document.activeElement?.blur();
        this.select(null);
      }
      this.drag = null;
      return;
    }
    this.#stop();
  }

  // Ends a drag; a box that was drawn too small is no box.
  #stop() {
    const drag = this.drag;
    this.drag = null;
    if (!drag?.moved || this.selected === null) return;
    const [x1, y1, x2, y2] = this.boxes[this.selected].box;
    if (drag.kind === "draw" && (x2 - x1 < SMALLEST || y2 - y1 < SMALLEST)) this.undo();
    else {
      this.boxes[this.selected].box = grown([x1, y1], [x2, y2]);
      this.draw();
    }
    this.changed(true);
  }

  #key(event) {
    if ((event.ctrlKey || event.metaKey) && event.key === "z") {
      event.preventDefault();
      return this.undo();
    }
    if (this.selected === null || event.ctrlKey || event.metaKey || event.altKey) return;
    const shift = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
    if (shift) {
      event.preventDefault();
      const { box } = this.boxes[this.selected];
      const corner = [box[2] + shift[0], box[3] + shift[1]];
      this.edit(this.selected, { box: event.shiftKey ? grown(box, corner) : shifted(box, ...shift) });
    } else if (event.key === "Delete" || event.key === "Backspace") {
      event.preventDefault();
      this.remove(this.selected);
    } else if (event.key === "Escape") {
      document.activeElement.blur();
      this.select(null);
    }
  }
}

function shifted([x1, y1, x2, y2], dx, dy) {
  dx = Math.min(1 - x2, Math.max(-x1, dx));
  dy = Math.min(1 - y2, Math.max(-y1, dy));
  return [x1 + dx, y1 + dy, x2 + dx, y2 + dy];
}

function stretched([x1, y1, x2, y2], handle, x, y) {
  const fixed = [handle.includes("w") ? x2 : x1, handle.includes("n") ? y2 : y1];
  return [Math.min(x, fixed[0]), Math.min(y, fixed[1]), Math.max(x, fixed[0]), Math.max(y, fixed[1])];
}

// A box with this corner that is large enough and in the image.
function grown([x1, y1], [x2, y2]) {
  x1 = Math.min(x1, 1 - SMALLEST);
  y1 = Math.min(y1, 1 - SMALLEST);
  return [x1, y1, Math.min(1, Math.max(x2, x1 + SMALLEST)), Math.min(1, Math.max(y2, y1 + SMALLEST))];
}
