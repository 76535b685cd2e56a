// Judging: which side is better, question by question, kept in this browser and saved as a file.

const cards = [...document.querySelectorAll(".card")];
const list = document.querySelector(".cards");

if (list) {
  const key = `osplade-compare-${list.dataset.key}`;
  const read = () => {
    try {
      return JSON.parse(localStorage.getItem(key)) ?? {};
    } catch {
      return {};
    }
  };
  const keep = () => {
    try {
      localStorage.setItem(key, JSON.stringify(chosen));
    } catch {
      // A browser that keeps nothing for files still lets the judgements be saved.
    }
  };
  let chosen = read();
  // "left" and "right" are what was seen; "old", "new" and "same" what it means.
  const meaning = (card, choice) => (choice === "same" ? "same" : choice === "left" ? card.dataset.left : card.dataset.right);

  const make = (text, action, name = "") => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    if (name) button.className = name;
    button.addEventListener("click", action);
    return button;
  };

  // Two-sided sign test: judgements of "same" say nothing.
  const chance = (wins, losses) => {
    const all = wins + losses;
    let term = 0.5 ** all;
    let tail = 0;
    for (let count = 0; count <= Math.min(wins, losses); count += 1) {
      tail += term;
      term *= (all - count) / (count + 1);
    }
    return Math.min(1, 2 * tail);
  };

  const state = document.createElement("output");
  const show = () => {
    const counts = { old: 0, new: 0, same: 0 };
    for (const card of cards) {
      const choice = chosen[card.id];
      card.classList.toggle("judged", Boolean(choice));
      if (choice) counts[meaning(card, choice)] += 1;
      for (const button of card.querySelectorAll(".choices button")) {
        button.setAttribute("aria-pressed", String(button.dataset.choice === choice));
      }
    }
    const judged = counts.old + counts.new + counts.same;
    state.textContent = `${judged} of ${cards.length} judged`;
    if (document.body.classList.contains("revealed") && judged) {
      const p = chance(counts.new, counts.old).toFixed(3);
      state.textContent += `: new index better ${counts.new}, old better ${counts.old}, same ${counts.same} (sign test p = ${p})`;
    }
  };

  for (const card of cards) {
    const choices = document.createElement("div");
    choices.className = "choices";
    choices.setAttribute("role", "group");
    choices.setAttribute("aria-label", "Which side is better?");
    for (const [choice, text] of [["left", "Left is better"], ["same", "As good"], ["right", "Right is better"]]) {
      const button = make(text, () => {
        if (chosen[card.id] === choice) delete chosen[card.id];
        else chosen[card.id] = choice;
        keep();
        show();
      });
      button.dataset.choice = choice;
      choices.append(button);
    }
    card.append(choices);
  }

  const save = () => {
    const judgements = cards
      .filter((card) => chosen[card.id])
      .map((card) => ({
        id: card.dataset.id,
        question: card.querySelector(".question").textContent,
        count: Number(card.dataset.count),
        choice: meaning(card, chosen[card.id]),
        seen: chosen[card.id],
      }));
    const text = JSON.stringify({ comparison: list.dataset.key, saved: new Date().toISOString(), judgements }, null, 2);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = "judgements.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  };

  const reveal = make("Show which is which", () => {
    const revealed = document.body.classList.toggle("revealed");
    reveal.textContent = revealed ? "Hide which is which" : "Show which is which";
    show();
  });
  const clear = make("Begin anew", () => {
    chosen = {};
    keep();
    show();
  }, "clear");
  const bar = document.createElement("div");
  bar.className = "bar-top";
  bar.append(state, reveal, make("Save judgements", save), clear);
  list.before(bar);
  show();
}
