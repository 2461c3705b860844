// Changing the page without disturbing whoever reads it: an element is touched only where it
// differs, and stays the same element, so that focus, selection and a screen reader's place in it
// survive every update.

import {time} from "./words.js";

export const find = (selector, within = document) => within.querySelector(selector);

/** Give an element its text. Never markup: texts may be other people's. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Set an attribute, or remove it for null. */
export function mark(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/** What a template holds, once more. */
export const copy = (id) => find(`template#${id}`).content.firstElementChild.cloneNode(true);

/** A new element with a text in it. */
export function make(tag, text = "", className = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

/**
 * Make the children of `parent` those for `items`, in their order. A child stays as long as there
 * is an item of its key; of items with one key the first counts. Before one that has the focus is
 * removed, `leaving(child)` may move it.
 */
export function keep(parent, items, key, create, update, leaving = () => {}) {
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
    // Moving an element takes the focus from it: only those move that are out of place.
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index]);
  });
}

/** Change something; should what has the focus be seen no more, the focus goes to `elsewhere`. */
export function keepFocus(change, elsewhere) {
  const nothing = document.body;  // It has the focus when nothing else has.
  const before = document.activeElement;
  change();
  const now = document.activeElement;
  if (before !== nothing && (now === nothing || !now.offsetParent)) elsewhere.focus();
}

/** Say in a `time` element when something was: where the reader is, and exactly for who asks. */
export function stamp(element, epoch) {
  const exact = new Date(epoch * 1000).toISOString();
  put(element, time(epoch));
  mark(element, "datetime", exact);
  mark(element, "title", exact);
}

/** Make a list show one item for each text. */
export function list(element, texts) {
  keep(element, texts, (text) => text, () => make("li"), put);
  element.hidden = !texts.length;
}

/** Fill the bar within `element`; of a whole of 0 nothing. */
export function fillBar(element, part, whole) {
  mark(find(".bar .part", element), "width", whole ? Math.min(100, (100 * part) / whole) : 0);
}
