// The page: settings, the queue, images and their detections. Everything is asked of the server that served it.

import { BoxEditor, dress, place } from "./boxes.js";

const $ = (id) => document.getElementById(id);
const POLL = 300; // milliseconds between questions about a job
const KEPT = "detdiffusion-studio"; // key of the boxes of this tab
const TITLES = { origin: "as drawn" };

let model;
let editor;
let opened = { image_id: null }; // the layout of a file
let job = null; // the running job
let shown = null; // {key, images} of the images on the page

const title = (column) => (model.attributes.length ? TITLES[column] ?? `all ${column}` : "image");

// Asks the server; throws an Error with its message.
async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("the server does not answer: was it stopped?");
  }
  const found = await answer.json().catch(() => ({ error: `the server answers ${answer.status}` }));
  if (!answer.ok) throw new Error(found.error);
  return found;
}

const send = (method, path, value) =>
  ask(path, { method, headers: { "Content-Type": "application/json" }, body: value === undefined ? undefined : JSON.stringify(value) });

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function say(error) {
  $("error").textContent = error ? error.message ?? error : "";
  $("error").hidden = !error;
}

// Runs an action and shows its error.
async function trying(action) {
  say(null);
  try {
    return await action();
  } catch (error) {
    say(error);
  }
}

// --- the layout

function added() {
  const last = editor.boxes.at(-1);
  return { name: last?.name || model.classes[0] || "", attribute: model.attributes[0] ?? null };
}

function boxesChanged(finished) {
  $("undo").disabled = !editor.past.length;
  $("clear").disabled = !editor.boxes.length;
  $("add").disabled = editor.boxes.length >= model.limits.boxes;
  if (finished) {
    listBoxes();
    sessionStorage.setItem(KEPT, JSON.stringify({ boxes: editor.boxes, opened }));
  }
  [...$("boxes").tBodies[0].rows].forEach((row, index) => row.classList.toggle("selected", index === editor.selected));
}

// One row for each box; rows are kept while their number is, so that the focus stays where it is.
function listBoxes() {
  const body = $("boxes").tBodies[0];
  $("boxes").hidden = !editor.boxes.length;
  while (body.rows.length > editor.boxes.length) body.lastChild.remove();
  while (body.rows.length < editor.boxes.length) body.append(boxRow(body.rows.length));
  editor.boxes.forEach(({ name, attribute }, index) => {
    const row = body.rows[index];
    dress(row, attribute, model.attributes);
    if (document.activeElement !== row.querySelector("input")) row.querySelector("input").value = name;
    row.querySelector("select").value = attribute ?? "";
  });
}

function boxRow(index) {
  const number = index + 1;
  const name = make("input", { onchange: () => editor.edit(index, { name: name.value.trim() }) });
  name.setAttribute("list", "classes");
  name.setAttribute("aria-label", `Class of box ${number}`);
  const attribute = make("select", { onchange: () => editor.edit(index, { attribute: attribute.value }) },
    ...model.attributes.map((word) => make("option", { value: word, textContent: word })));
  attribute.setAttribute("aria-label", `Attribute of box ${number}`);
  const remove = make("button", { type: "button", textContent: "✕", onclick: () => editor.remove(index) });
  remove.setAttribute("aria-label", `Remove box ${number}`);
  const row = make("tr", {},
    make("td", {}, make("i", { className: "swatch" }), `${number}`), make("td", {}, name),
    make("td", { className: "with-attributes", hidden: !model.attributes.length }, attribute), make("td", {}, remove));
  row.addEventListener("focusin", () => editor.selected !== index && editor.select(index, false));
  return row;
}

// --- layouts of files

const chosenFile = () => $("file").selectedOptions[0];

function fileOption({ key, name, layouts }) {
  const option = make("option", { value: key, textContent: `${name} (${layouts})` });
  option.dataset.layouts = layouts;
  $("file").append(option);
  return option;
}

function fileChanged() {
  const layouts = Number(chosenFile().dataset.layouts ?? 0);
  for (const id of ["index", "previous", "next"]) $(id).disabled = !layouts;
  $("index").max = layouts;
  $("of").textContent = layouts ? `of ${layouts}` : "";
  if (layouts) openLayout(1);
}

const openLayout = (number) => trying(async () => {
  const layouts = Number(chosenFile().dataset.layouts ?? 0);
  if (!layouts) return;
  const index = ((((number - 1) % layouts) + layouts) % layouts) || 0;
  const layout = await ask(`api/layouts/${chosenFile().value}/${index}`);
  $("index").value = index + 1;
  opened = { image_id: layout.image_id };
  editor.open(layout.boxes.slice(0, model.limits.boxes));
  $("opened").textContent = `${layout.file_name}: ${layout.boxes.length} boxes` +
    (layout.boxes.length > model.limits.boxes ? `, the first ${model.limits.boxes} are shown` : "");
});

const upload = () => trying(async () => {
  const file = $("upload").files[0];
  if (!file) return;
  $("upload").value = "";
  if (file.size > model.limits.upload)
    throw new Error(`${file.name} has ${Math.round(file.size / 1e6)} MB; at most ${Math.round(model.limits.upload / 1e6)} MB are accepted`);
  const found = await ask(`api/layouts?name=${encodeURIComponent(file.name)}`,
    { method: "POST", headers: { "Content-Type": "application/json" }, body: file });
  fileOption(found).selected = true;
  fileChanged();
});

// --- generating

const request = () => ({
  boxes: editor.boxes,
  columns: model.attributes.length
    ? [...document.querySelectorAll("#columns input:checked")].map((input) => input.value)
    : model.columns,
  seed: Number($("seed").value),
  steps: Number($("steps").value),
  guidance_scale: Number($("guidance").value),
  image_id: opened.image_id,
});

async function generate(event) {
  event.preventDefault();
  await trying(async () => {
    const { key } = await send("POST", "api/jobs", request());
    job = key;
    running(true);
    await follow(key);
  });
  running(false);
  job = null;
}

// Exchanges the buttons; the keyboard's focus goes with them.
function running(is) {
  const focused = [document.body, $("generate"), $("cancel")].includes(document.activeElement);
  $("generate").disabled = is;
  $("cancel").hidden = $("progress").hidden = $("step").hidden = !is;
  $("step").textContent = "";
  $("progress").removeAttribute("value");
  if (focused) $(is ? "cancel" : "generate").focus({ preventScroll: true });
}

// Waits for a job, and shows how far it is.
async function follow(key) {
  for (;;) {
    const { state, position, step, steps, error, images } = await ask(`api/jobs/${key}`);
    if (state === "failed") throw new Error(error);
    if (state === "cancelled") return void ($("state").textContent = "cancelled");
    if (state === "done") {
      $("state").textContent = `${images.length} ${images.length > 1 ? "images" : "image"}, done`;
      return show(key, images);
    }
    $("state").textContent = state === "queued" ? `waiting, ${position} before you` : "generating";
    if (steps) {
      Object.assign($("progress"), { max: steps, value: step });
      $("step").textContent = `step ${step} of ${steps}`; // not in the status, which is read aloud
    }
    await new Promise((resolve) => setTimeout(resolve, POLL));
  }
}

// --- the images

function show(key, images) {
  shown = { key, images };
  $("view").hidden = false;
  $("empty").hidden = true;
  $("saved").textContent = "";
  $("images").replaceChildren(...images.map((image, index) => figure(key, image, index)));
  overlay();
}

function figure(key, image, index) {
  const source = `api/jobs/${key}/${index}.png`;
  const known = image.objects.filter(({ found }) => found !== null);
  const finds = known.length ? `detector finds ${known.filter(({ found }) => found).length} of ${known.length}` : "";
  const picture = make("img", {
    src: source, width: image.width, height: image.height, className: image.width < 256 ? "small" : "",
    alt: `Image, ${title(image.column)}: ${image.objects.map(({ name, attribute }) => [name, attribute].filter(Boolean).join(" ")).join("; ")}`,
  });
  const caption = make("figcaption", {}, title(image.column), make("span", { className: "quiet", textContent: finds && ` · ${finds}` }));
  const links = make("p", {},
    make("a", { href: source, download: image.file_name, textContent: "PNG with recipe" }),
    make("a", { href: `api/jobs/${key}/${index}.json`, download: image.file_name.replace(/png$/, "json"), textContent: "Recipe" }));
  const notes = image.not_prompted.length
    ? [make("p", { className: "quiet", textContent: `no room in the prompt for: ${image.not_prompted.join(", ")}` })] : [];
  return make("figure", {}, caption, make("div", { className: "canvas" }, picture),
    make("p", { className: "prompt", textContent: image.prompt }), ...notes, links);
}

// Lays the drawn boxes and the detections over the images, as chosen.
function overlay() {
  const threshold = Number($("threshold").value);
  shown?.images.forEach((image, index) => {
    const canvas = document.querySelectorAll("#images .canvas")[index];
    canvas.querySelectorAll(".box").forEach((element) => element.remove());
    if ($("show-boxes").checked) image.objects.forEach((one) => canvas.append(mark(one, "drawn", [one.name, one.attribute, one.found === false && "– missed"])));
    if ($("show-detections").checked)
      (image.detections ?? []).filter(({ score }) => score > threshold)
        .forEach((one) => canvas.append(mark(one, "detection", [one.name, one.score.toFixed(2)])));
  });
}

function mark({ box, attribute }, kind, texts) {
  const element = make("div", { className: `box ${kind}` }, make("span", { textContent: texts.filter(Boolean).join(" ") }));
  if (kind === "drawn") dress(element, attribute, model.attributes);
  place(element, box);
  return element;
}

const save = () => trying(async () => {
  $("save").disabled = true;
  try {
    const { saved, already_there, total, out } = await send("POST", `api/jobs/${shown.key}/save`, { images: shown.images.map((_, i) => i) });
    $("saved").textContent = `${saved} saved${already_there ? `, ${already_there} were there` : ""}; ${out} has ${total} ${total > 1 ? "images" : "image"}`;
  } finally {
    $("save").disabled = false;
  }
});

// --- start

function prepare() {
  const { width, height, attributes, detector } = model;
  $("model").textContent = [model.config, model.checkpoint ?? "weights of the config", `${width} × ${height}`,
    model.trained_attributes ? "" : "trained without attributes", detector ? `detector: ${detector.split("/").at(-1)}` : "no detector"]
    .filter(Boolean).join(" · ");
  $("untrained").hidden = !attributes.length || model.trained_attributes;
  document.querySelectorAll(".with-attributes").forEach((element) => (element.hidden = !attributes.length));
  document.querySelectorAll(".with-detector").forEach((element) => (element.hidden = !detector));
  $("stage").style.aspectRatio = `${width} / ${height}`;
  $("classes").append(...model.classes.map((name) => make("option", { value: name })));
  for (const column of model.columns) {
    const input = make("input", { type: "checkbox", value: column, checked: column !== "origin" });
    $("columns").append(make("label", {}, input, title(column)));
  }
  $("seed").value = model.defaults.seed;
  $("steps").value = model.defaults.steps;
  $("guidance").value = model.defaults.guidance_scale;
  model.files.forEach(fileOption);
}

await trying(async () => {
  model = await ask("api/model");
  prepare();
  editor = new BoxEditor($("stage"), { words: model.attributes, most: model.limits.boxes, changed: boxesChanged, added });
  const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
  if (kept?.boxes.every(({ attribute }) => (model.attributes.length ? model.attributes.includes(attribute) : true))) {
    opened = kept.opened;
    editor.open(kept.boxes);
  }
  $("add").onclick = () => editor.add();
  $("undo").onclick = () => editor.undo();
  $("clear").onclick = () => {
    opened = { image_id: null };
    editor.open([]);
  };
  $("file").onchange = fileChanged;
  $("upload").onchange = upload;
  $("index").onchange = () => openLayout(Number($("index").value));
  $("previous").onclick = () => openLayout(Number($("index").value) - 1);
  $("next").onclick = () => openLayout(Number($("index").value) + 1);
  $("dice").onclick = () => ($("seed").value = Math.floor(Math.random() * 1e6));
  $("settings").onsubmit = generate;
  $("cancel").onclick = () => job && trying(() => send("DELETE", `api/jobs/${job}`));
  for (const id of ["show-boxes", "show-detections", "threshold"]) $(id).oninput = overlay;
  $("save").onclick = save;
  document.body.dataset.ready = "true";
});
