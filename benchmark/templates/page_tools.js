"use strict";
// The data of the page, elements that are made from text alone, and the state, which is kept behind
// the # of the address.

const { rankings, rows, columns: numberColumns, measures } =
  JSON.parse(document.getElementById("data").textContent);
const NARROW = matchMedia("(max-width: 48rem)");
let state = new URLSearchParams(location.hash.slice(1));

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function drawn(name, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

// A text that may be broken behind an underscore or a slash.
function broken(text) {
  const parts = text.split(/(?<=[_/])/);
  return parts.flatMap((part, place) => place ? [make("wbr"), part] : [part]);
}

function keep(key, value) {
  if (value) state.set(key, value);
  else state.delete(key);
  history.replaceState(null, "", `#${state}`);
}

// A place on this page. wanted: the state there.
const address = wanted => `#${new URLSearchParams(wanted)}`;

const compared = (a, b) => a.localeCompare(b, "en", { numeric: true });
const unique = values => [...new Set(values)];
