// What every script of the page uses: data blocks, compressed data, side files, elements made without markup.
"use strict";
(() => {
  const waiting = new Map();

  /** The value of a data block that stands in the page. */
  function data(id) {
    const block = document.getElementById(id);
    return block ? JSON.parse(block.textContent) : null;
  }

  /** The value that a text of compressed JSON holds. */
  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  /** The value of a compressed block that stands in the page; null if there is none. */
  async function packed(id) {
    const block = document.getElementById(id);
    return block ? unpack(block.textContent) : null;
  }

  /** The value of a side file (a path relative to the page); an error if the file is not there. */
  function side(path) {
    if (!waiting.has(path)) {
      const slot = {};
      slot.promise = new Promise((resolve, reject) => Object.assign(slot, { resolve, reject }));
      waiting.set(path, slot);
      const element = document.createElement("script");
      element.src = path;
      element.onerror = () => {
        waiting.delete(path); // so that it can be asked for again, once the file lies there
        slot.reject(new Error(`${path} does not lie beside this page`));
      };
      // A file that lies there, but holds something else, must not be waited for.
      element.onload = () => {
        if (!slot.came) element.onerror();
      };
      document.head.append(element);
    }
    return waiting.get(path).promise;
  }

  /** What a side file calls with its own path and its compressed value. */
  function arrived(path, text) {
    const slot = waiting.get(path);
    if (!slot) return;
    slot.came = true;
    unpack(text).then(slot.resolve, slot.reject);
  }

  /** An element with properties, attributes (names with a dash, and `role`) and children; strings become text. */
  function make(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name.includes("-") || name === "role") element.setAttribute(name, value);
      else element[name] = value;
    }
    element.append(...children);
    return element;
  }

  window.long1k = { data, unpack, packed, side, arrived, make };
  document.documentElement.classList.add("scripted");
})();
