// Changes to the page that do not disturb its reader: an element is touched only where it differs,
// and stays the same element, so that focus, selection and a screen reader's place in it survive.

import {time} from "./words.js";

export const find = (selector, within = document) => within.querySelector(selector);

// Every state has a word, a shape and a colour, so that nobody depends on one of them.
export const SHAPES = {
  launching: "M8 2a6 6 0 0 1 0 12zM8 1a7 7 0 1 0 0 14a7 7 0 1 0 0-14z",
  warm: "M3 2h4v12H3zM9 2h4v12H9z",
  ready: "M8 1a7 7 0 1 0 0 14a7 7 0 1 0 0-14z",
  draining: "M1 3h14L8 15z",
  lost: "M3 1l5 5 5-5 2 2-5 5 5 5-2 2-5-5-5 5-2-2 5-5-5-5z",
  gone: "M2 7h12v2H2z",
  asked: "M5 2l9 6-9 6z",
  well: "M6.5 13L1 7.5l2-2 3.5 3.5 7-7 2 2z",
  attention: "M8 1l7.5 14H.5zM7 6v4h2V6zM7 11v2h2v-2z",
  alarm: "M8 0a8 8 0 1 0 0 16A8 8 0 1 0 8 0zM7 3v6h2V3zM7 11v2h2v-2z",
};

/** Draw a shape in the icon of `element`. */
export const draw = (element, shape) => mark(find("path", element), "d", SHAPES[shape]);

/** Set an element's text, never markup: texts may come from other people. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Set an attribute, or remove it for null. */
export function mark(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/** A copy of the content of a template. */
export const copy = (id) => find(`template#${id}`).content.firstElementChild.cloneNode(true);

/** A new element with a text in it. */
export function make(tag, text = "", className = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

/**
 * Give `parent` a child for each of `items`, in their order. A child stays as long as there is an
 * item with its key; of items with the same key the first counts. `leaving(child)` is called before
 * a child with the focus is removed, and may move the focus.
 */
export function reconcile(parent, items, key, create, update, leaving = () => {}) {
  const before = new Map(Array.from(parent.children, (child) => [child.dataset.key, child]));
  const children = new Map();
  for (const item of items) {
    const name = String(key(item));
    if (children.has(name)) continue;
    const child = before.get(name) ?? create(item);
    before.delete(name);
    child.dataset.key = name;
    update(child, item);
    children.set(name, child);
  }
  for (const child of before.values()) {
    if (child.contains(document.activeElement)) leaving(child);
    child.remove();
  }
  [...children.values()].forEach((child, index) => {
    // An element that moves loses the focus: so only those out of place move.
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index]);
  });
}

/** Call `change`; if it removes or hides the element with the focus, `elsewhere` gets the focus. */
export function keepFocus(change, elsewhere) {
  const nothing = document.body;  // The body has the focus when nothing else has.
  const before = document.activeElement;
  change();
  const now = document.activeElement;
  if (before !== nothing && (now === nothing || !now.offsetParent)) elsewhere.focus();
}

/** Show a time in a `time` element: in the reader's time zone, and exactly on demand. */
export function stamp(element, epoch) {
  const exact = new Date(epoch * 1000).toISOString();
  put(element, time(epoch));
  mark(element, "datetime", exact);
  mark(element, "title", exact);
}

/** Make a list show one item for each text. */
export function list(element, texts) {
  reconcile(element, texts, (text) => text, () => make("li"), put);
  element.hidden = !texts.length;
}

/** Fill the bar in `element`; it stays empty for a whole of 0. */
export function fillBar(element, part, whole) {
  mark(find(".bar .part", element), "width", whole ? Math.min(100, (100 * part) / whole) : 0);
}
