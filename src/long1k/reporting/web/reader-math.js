// Formulas: trees of MathML built node by node from names that may stand in it; never from markup.
"use strict";
(() => {
  const NS = "http://www.w3.org/1998/Math/MathML";
  const DEEPEST = 120;
  const allowed = { tags: new Set(), attributes: new Set() };
  const value = /^[\w.%+ -]{1,40}$/;

  /** Say which elements and attributes formulas may hold. */
  function allow(tags, attributes) {
    allowed.tags = new Set(tags);
    allowed.attributes = new Set(attributes);
  }

  function node(tree, depth) {
    if (!Array.isArray(tree)) return document.createTextNode(String(tree));
    const [tag, ...rest] = tree;
    if (!allowed.tags.has(tag) || depth > DEEPEST) throw new Error(`no element of a formula: ${tag}`);
    // Browsers draw no menclose; a box round an answer is drawn by the style sheet.
    const element = document.createElementNS(NS, tag === "menclose" ? "mrow" : tag);
    if (tag === "menclose") element.setAttribute("class", "boxed");
    const attributes = rest.length && typeof rest[0] === "object" && !Array.isArray(rest[0]) ? rest.shift() : {};
    for (const [name, text] of Object.entries(attributes)) {
      if (allowed.attributes.has(name) && name !== "notation" && value.test(text)) element.setAttribute(name, text);
    }
    for (const child of rest) element.append(node(child, depth + 1));
    return element;
  }

  /** A formula as an element; its source as text if the tree cannot be one. */
  function formula(tree, source) {
    const holder = document.createElement("span");
    holder.className = "formula";
    holder.title = source;
    try {
      const math = document.createElementNS(NS, "math");
      if (tree[0] === "display") math.setAttribute("display", "block");
      for (const child of tree.slice(1)) math.append(node(child, 0));
      holder.append(math);
    } catch {
      holder.textContent = source;
    }
    return holder;
  }

  Object.assign(window.long1k.reader, { allow, formula });
})();
