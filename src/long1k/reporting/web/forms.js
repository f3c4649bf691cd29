// A table as text for other programs: Markdown, LaTeX (booktabs) and CSV; nothing in a cell can leave its cell.
"use strict";
(() => {
  const LATEX = {
    "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "$": "\\$", "&": "\\&", "#": "\\#", "%": "\\%", "_": "\\_",
    "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}",
    "\u00a0": "~", "\u202f": "\\,", "–": "--", "—": "---", "−": "$-$", "±": "$\\pm$", "×": "$\\times$", "·": "$\\cdot$",
    "∞": "$\\infty$", "≤": "$\\leq$", "≥": "$\\geq$", "≈": "$\\approx$", "→": "$\\rightarrow$", "²": "$^2$", "³": "$^3$",
    "…": "\\ldots{}", "“": "``", "”": "''", "‘": "`", "’": "'", "\"": "\\textquotedbl{}", "`": "\\textasciigrave{}",
  };

  /** A text in LaTeX; what has no letter of its own there is written by its command. */
  const latex = (text) => Array.from(text, (c) => LATEX[c] ?? c).join("");

  /** A text in a cell of a Markdown table: no mark of it is read as markup. */
  const markdown = (text) => text.replace(/[\\`*_{}[\]<>#|~$!]/g, "\\$&").replace(/&/g, "&amp;");

  /** A field of a CSV; a text that a spreadsheet would take for a formula is made one that it does not. */
  function field(text) {
    const formula = /^[=@\t\r]/.test(text) || (/^[+\-−]/.test(text) && !/^[+\-−][\d.]/.test(text));
    const safe = formula ? `'${text}` : text;
    return /[",\n\r]/.test(safe) || safe !== safe.trim() ? `"${safe.replaceAll('"', '""')}"` : safe;
  }

  function asMarkdown({ title, head, numeric, rows }) {
    const line = (cells) => `| ${cells.map(markdown).join(" | ")} |`;
    const rule = `| ${numeric.map((right) => (right ? "---:" : ":---")).join(" | ")} |`;
    return [...(title ? [markdown(title), ""] : []), line(head), rule, ...rows.map(line)].join("\n") + "\n";
  }

  function asLatex({ title, head, numeric, rows }) {
    const line = (cells) => `    ${cells.map(latex).join(" & ")} \\\\`;
    return [
      "% needs \\usepackage{booktabs}", "\\begin{table}", "  \\centering", ...(title ? [`  \\caption{${latex(title)}}`] : []),
      `  \\begin{tabular}{${numeric.map((right) => (right ? "r" : "l")).join("")}}`, "    \\toprule", line(head), "    \\midrule",
      ...rows.map(line), "    \\bottomrule", "  \\end{tabular}", "\\end{table}", "",
    ].join("\n");
  }

  const asCsv = ({ head, rows }) => [head, ...rows].map((cells) => cells.map(field).join(",")).join("\r\n") + "\r\n";

  window.long1k.forms = { Markdown: asMarkdown, LaTeX: asLatex, CSV: asCsv };
})();
