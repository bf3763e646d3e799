"""Pictures for people: objects drawn on images, sheets of images, curves, the demo's report page."""
