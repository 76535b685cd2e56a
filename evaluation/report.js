"use strict";
// Comfort only: tables sort, questions can be found by their words, links open what they lead to. All is there without.

const valueOf = (row, column) => {
  const cell = row.cells[column];
  const value = cell.dataset.value ?? cell.textContent.trim();
  const number = Number(value.replace("−", "-"));
  return value !== "" && !Number.isNaN(number) ? number : value;
};

const compare = (one, other) => {
  if (typeof one === "number" && typeof other === "number") return one - other;
  // What has no figure, such as the latency of an imported run, is below all that has one.
  if (typeof one !== typeof other) return typeof one === "number" ? 1 : -1;
  return one.localeCompare(other, undefined, { numeric: true });
};

const sort = (table, header, column) => {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const isText = rows.length > 0 && typeof valueOf(rows[0], column) === "string";
  const before = header.getAttribute("aria-sort");
  const ascending = before ? before === "descending" : isText;
  for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const keyed = rows.map((row) => [valueOf(row, column), row]);
  keyed.sort(([one], [other]) => (ascending ? compare(one, other) : compare(other, one)));
  body.append(...keyed.map(([, row]) => row));
};

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sort(table, header, column));
    header.append(button);
  });
}

const questions = document.getElementById("questions-table");
if (questions) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  label.className = "find";
  input.type = "search";
  label.append("Find questions with", input);
  questions.before(label);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of questions.querySelectorAll("tbody tr")) {
      const text = row.cells[0].textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });
}

const openTarget = () => {
  const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.scrollIntoView();
  }
};
addEventListener("hashchange", openTarget);
openTarget();
// On paper nothing can be opened.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => (one.open = true)));
