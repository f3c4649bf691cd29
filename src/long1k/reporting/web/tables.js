// Tables that sort, filter and can be taken along; each stands whole in the page without this.
"use strict";
(() => {
  const { make, say } = window.long1k;
  const FILTER_ABOVE = 8;

  /** A cell's text as it is read: one line, without footnote marks and what is there for the screen only. */
  function textOf(cell) {
    const copy = cell.cloneNode(true);
    for (const one of copy.querySelectorAll("sup, .sr, .only-scripted")) one.remove();
    for (const one of copy.querySelectorAll(".interval")) one.before(" ");
    return copy.textContent.replace(/\s+/g, " ").trim();
  }

  /** The first number in a text ("30.0 % [25.0, 35.0]", "1,234", "< 0.001", "−3"); null if it holds none. */
  function numberOf(text) {
    const found = text.replace(/[,\u00a0\u202f](?=\d{3}(\D|$))/g, "").replace(/\u2212/g, "-").match(/[-+]?\d*\.?\d+(e[-+]?\d+)?/i);
    if (!found || (found.index > 0 && !/^[<>±≤≥~ ]*$/.test(text.slice(0, found.index)))) return null;
    return Number(found[0]) - (text.startsWith("<") ? 1e-9 : 0);
  }

  /** Ascending order of two texts; empty ones and dashes come last, whichever way the column is turned. */
  function order(numeric, direction) {
    const none = (text) => text === "" || text === "–";
    return (a, b) => {
      if (none(a.key) || none(b.key)) return none(a.key) - none(b.key) || a.at - b.at;
      const [one, other] = numeric ? [numberOf(a.key), numberOf(b.key)] : [null, null];
      const by = one !== null && other !== null ? one - other : a.key.localeCompare(b.key, "en", { numeric: true });
      return direction * by || a.at - b.at;
    };
  }

  const rowsOf = (table) => [...table.tBodies].flatMap((body) => [...body.rows]);
  const titleOf = (table) => (table.caption ? textOf(table.caption) : "");

  function sortable(table) {
    const head = table.tHead && table.tHead.rows[0];
    if (!head) return;
    const rows = rowsOf(table).map((row, at) => ({ row, at }));
    [...head.cells].forEach((cell, column) => {
      const button = make("button", { type: "button", className: "sort" });
      button.append(...cell.childNodes);
      cell.append(button);
      button.addEventListener("click", () => {
        const was = cell.getAttribute("aria-sort");
        const next = was === "ascending" ? "descending" : was === "descending" ? null : "ascending";
        for (const other of head.cells) other.removeAttribute("aria-sort");
        let now = rows;
        if (next) {
          cell.setAttribute("aria-sort", next);
          const keyed = rows.map((one) => ({ ...one, key: one.row.cells[column] ? textOf(one.row.cells[column]) : "" }));
          now = keyed.sort(order(cell.classList.contains("n"), next === "ascending" ? 1 : -1));
        }
        for (const one of now) table.tBodies[0].append(one.row);
        say(next ? `Sorted by ${textOf(cell)}, ${next}.` : "Rows in their first order.");
      });
    });
  }

  function filterable(table, tools, name) {
    const rows = rowsOf(table);
    if (rows.length <= FILTER_ABOVE) return;
    const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
    const input = make("input", { type: "search", placeholder: "Filter rows", "aria-label": `Filter rows: ${name}` });
    const left = make("span", { className: "small" });
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        row.hidden = !words.every((word) => texts.get(row).includes(word));
        shown += !row.hidden;
      }
      left.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
      say(words.length ? `${shown} of ${rows.length} rows are shown.` : "All rows are shown.");
    });
    tools.append(input, left);
  }

  /** The rows that are shown, in the order in which they are shown: {title, head, numeric, rows}. */
  function contentOf(table) {
    const head = table.tHead ? [...table.tHead.rows[0].cells] : [];
    return {
      title: titleOf(table), head: head.map(textOf), numeric: head.map((cell) => cell.classList.contains("n")),
      rows: rowsOf(table).filter((row) => !row.hidden).map((row) => [...row.cells].map(textOf)),
    };
  }

  const FORMS = ["Markdown", "LaTeX", "CSV"];

  function copyable(table, tools, name) {
    const buttons = FORMS.map((form) => {
      const button = make("button", { type: "button", "aria-label": `Copy as ${form}: ${name}` }, form);
      button.addEventListener("click", () => copy(tools, window.long1k.forms[form](contentOf(table)), form, button));
      return button;
    });
    const save = make("button", { type: "button", "aria-label": `Save as CSV: ${name}` }, "Save CSV");
    save.addEventListener("click", () => {
      const blob = new Blob(["\ufeff", window.long1k.forms.CSV(contentOf(table))], { type: "text/csv" });
      const file = name.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 60) || "table";
      const link = make("a", { href: URL.createObjectURL(blob), download: `${file}.csv` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
      say("The table is saved as CSV.");
    });
    tools.append(make("span", { className: "small" }, "Copy as"), ...buttons, save);
  }

  async function copy(tools, text, form, button) {
    tools.parentElement.querySelector(":scope > .copied")?.remove();
    try {
      await navigator.clipboard.writeText(text);
      say(`Copied as ${form}.`);
    } catch {
      // A browser may refuse a page on disk: then the text is shown, ready to be copied by hand.
      const area = make("textarea", { readOnly: true, value: text, rows: 8, "aria-label": `The table as ${form}` });
      const close = make("button", { type: "button" }, "Close");
      const box = make("div", { className: "copied no-print" }, make("p", { className: "small" }, `The table as ${form}: copy the selected text.`), area, close);
      close.addEventListener("click", () => {
        box.remove();
        button.focus();
      });
      tools.after(box);
      area.select();
      say(`The browser does not let this page copy: the ${form} text is shown and selected.`);
    }
  }

  for (const table of document.querySelectorAll("main table:not([data-plain])")) {
    const frame = table.closest(".scroll") || table;
    const name = frame.getAttribute("aria-label") || titleOf(table);
    const tools = make("div", { className: "tools no-print" });
    sortable(table);
    filterable(table, tools, name);
    copyable(table, tools, name);
    frame.before(make("div", { className: "table-tools no-print" }, tools));
  }
  Object.assign(window.long1k, { contentOf });
})();
