// The stage: two pictures under a border that moves, and a view into them that zooms. `$` gives the element of an id.
const stage = $("stage"), slider = $("slider");
let dragging = null, panned = null;
const view = {zoom: 1, x: 0, y: 0};

// The border: pointer anywhere on the picture, or arrow keys on the handle.
function split(percent) {
  const value = Math.min(100, Math.max(0, percent)), shown = Math.round(value);
  stage.style.setProperty("--split", value + "%");
  slider.setAttribute("aria-valuenow", shown);
  slider.setAttribute("aria-valuetext", `${shown} % before`);
}
function follow(event) {
  const box = stage.getBoundingClientRect();
  split((event.clientX - box.left) / box.width * 100);
}
// Zoomed, a drag away from the border moves the view instead.
const pans = event => view.zoom > 1 && Math.abs(event.clientX - slider.getBoundingClientRect().left) > 28;
stage.addEventListener("pointerdown", event => {
  if (event.button) return;
  stage.setPointerCapture(event.pointerId);
  dragging = event.pointerId;
  panned = pans(event) ? {x: view.x - event.clientX, y: view.y - event.clientY} : null;
  slider.focus({preventScroll: true});
  if (!panned) follow(event);
  event.preventDefault();
});
function drag(event) {
  if (event.pointerId !== dragging) return;
  if (panned) look(view.zoom, panned.x + event.clientX, panned.y + event.clientY); else follow(event);
}
stage.addEventListener("pointermove", drag);
stage.addEventListener("pointerup", event => { drag(event); if (event.pointerId === dragging) dragging = null; });
stage.addEventListener("pointercancel", () => { dragging = null; });
slider.addEventListener("keydown", event => {
  const now = Number(slider.getAttribute("aria-valuenow"));
  const to = {ArrowLeft: now - 2, ArrowDown: now - 2, ArrowRight: now + 2, ArrowUp: now + 2, PageDown: now - 10, PageUp: now + 10, Home: 0, End: 100}[event.key];
  if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
  split(to);
  event.preventDefault();
});

// The view: wheel, double click or z.
function look(zoom, x, y) {
  const {clientWidth: width, clientHeight: height} = stage;
  view.zoom = Math.min(32, Math.max(1, zoom));
  view.x = Math.min(0, Math.max(width - width * view.zoom, x));
  view.y = Math.min(0, Math.max(height - height * view.zoom, y));
  stage.style.setProperty("--view", `translate(${view.x}px, ${view.y}px) scale(${view.zoom})`);
  stage.classList.toggle("pixels", view.zoom * width * devicePixelRatio > 1.5 * picturesWidth());
}
function picturesWidth() {
  const widths = [...stage.querySelectorAll(".side canvas, .side img")].map(picture => picture.naturalWidth || picture.width);
  return Math.max(1, ...widths);
}
function zoomTo(zoom, clientX, clientY) {
  const box = stage.getBoundingClientRect(), x = clientX - box.left, y = clientY - box.top;
  const wanted = Math.min(32, Math.max(1, zoom)), ratio = wanted / view.zoom;
  look(wanted, x - (x - view.x) * ratio, y - (y - view.y) * ratio);
}
function toPixels(clientX, clientY) {  // one pixel of the larger picture is two of the screen; and back
  const pixels = 2 * picturesWidth() / (stage.clientWidth * devicePixelRatio);
  zoomTo(view.zoom > 1 ? 1 : Math.max(2, pixels), clientX, clientY);
}
stage.addEventListener("wheel", event => {
  if (event.ctrlKey) return;
  zoomTo(view.zoom * 2 ** (-event.deltaY / 300), event.clientX, event.clientY);
  event.preventDefault();
}, {passive: false});
stage.addEventListener("dblclick", event => toPixels(event.clientX, event.clientY));

const fullScreen = () => document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen();
$("full").addEventListener("click", fullScreen);
$("full").hidden = !document.fullscreenEnabled;
const isTyping = event => event.ctrlKey || event.metaKey || event.altKey || /^(SELECT|INPUT|TEXTAREA)$/.test(event.target.tagName);
addEventListener("keydown", event => {
  if (isTyping(event)) return;
  const box = stage.getBoundingClientRect();
  if (event.key === "f") fullScreen();
  if (event.key === "z") toPixels(box.left + box.width / 2, box.top + box.height / 2);
});
