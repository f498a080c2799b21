"use strict";
// What comes from the shop is set as text (textContent), never as markup.
const basket = new Map();
const element = (id) => document.getElementById(id);

// In place of a picture that is not there.
function blank() {
  const place = document.createElement("span");
  place.className = "blank";
  return place;
}

function entry(product, action, note, chosen) {
  const button = document.createElement("button");
  button.type = "button";
  const title = product.title ?? product.item;
  button.setAttribute("aria-label", `${action}: ${title}${note ? `. ${note}` : ""}`);
  let picture = blank();
  if (product.picture) {
    picture = document.createElement("img");
    picture.alt = "";
    picture.loading = "lazy";
    picture.src = product.picture.slice(1);
    picture.addEventListener("error", ({ target }) => target.replaceWith(blank()));
  }
  const text = document.createElement("span");
  text.className = "text";
  for (const [kind, words] of [["title", title], ["note", note]]) {
    if (!words) continue;
    const line = document.createElement("span");
    line.className = kind;
    line.textContent = words;
    text.append(line);
  }
  button.append(picture, text);
  button.addEventListener("click", chosen);
  const row = document.createElement("li");
  row.dataset.item = product.item;
  row.append(button);
  return row;
}

async function ask(path, body) {
  const sent = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, sent);
  const found = await answer.json();
  if (!answer.ok) throw new Error([].concat(found.detail ?? answer.statusText).join("; "));
  return found;
}

// Only the answer to the latest question of a kind is shown.
function latest(note, question, show) {
  let number = 0;
  return async (...given) => {
    const own = ++number;
    try {
      const found = await question(...given);
      if (own === number) show(found);
    } catch (error) {
      if (own === number) element(note).textContent = `No answer: ${error.message}`;
    }
  };
}

const search = latest(
  "found",
  async () => {
    const words = element("words").value.trim();
    return words ? { words, ...(await ask(`search?k=20&q=${encodeURIComponent(words.slice(0, 200))}`)) } : { items: [] };
  },
  ({ words, items }) => {
    element("found").textContent = words ? (items.length === 20 ? "The best 20" : `${items.length} found`) : "";
    const note = (product) => (product.known ? "" : "the model does not know it");
    element("products").replaceChildren(...items.map((p) => entry(p, "Buy", note(p), () => add(p))));
  },
);

function reason(product) {
  if (product.reason === "popular") return "popular in this shop";
  if (!product.because) return "by the model";
  return `nearest to what you bought: ${product.because.title ?? product.because.item}`;
}

// What is said of a modality, and of a part; another one goes by its own name.
const KINDS = { text: "text", image: "picture" };
const PARTS = {
  text: "its text",
  image: "its picture",
  ids: "who buys it",
  interests: "its groups",
  floor: "purchases of all customers",
  neighbourhood: "bought together with yours",
  repeats: "bought again",
};
const NUMBERS = { minimumSignificantDigits: 2, maximumSignificantDigits: 2 };

function factor(logOdds) {
  const times = Math.exp(logOdds);
  const notation = times < 1e-3 || times >= 1e6 ? "scientific" : "standard";
  return new Intl.NumberFormat("en", { ...NUMBERS, notation }).format(times);
}

function written(kind, words) {
  return Object.assign(document.createElement(kind), { textContent: words });
}

function madeOf(parts) {
  const rows = Object.entries(parts).sort(([, one], [, other]) => other - one);
  if (!rows.length) return [];
  const all = rows.reduce((sum, [, logOdds]) => sum + logOdds, 0);
  const list = document.createElement("dl");
  for (const [name, logOdds] of rows) {
    list.append(written("dt", PARTS[name] ?? name), written("dd", `×\u00a0${factor(logOdds)}`));
  }
  return [written("p", `${factor(all)} times as likely as an average product:`), list];
}

function counted(modalities) {
  const shares = Object.entries(modalities).map(
    ([name, share]) => `its ${KINDS[name] ?? name} counts ${Math.round(100 * share)}\u00a0%`,
  );
  return shares.length > 1 ? [written("p", `Of what you bought, ${shares.join(", ")}.`)] : [];
}

function grouped({ modality, words, items, bought }) {
  const what = words.length ? words.join(", ") : `${items} products`;
  const shared = bought.map((item) => basket.get(item)?.title ?? item);
  const also = shared.length ? `. You bought of it: ${shared.join("; ")}` : "";
  return written("p", `Group by ${KINDS[modality] ?? modality}: ${what}${also}`);
}

// More than the one line of the list, where the model has more to say.
function why(product) {
  const said = [...madeOf(product.parts), ...counted(product.modalities), ...product.clusters.map(grouped)];
  if (!said.length) return [];
  const details = document.createElement("details");
  const summary = written("summary", "Why");
  summary.setAttribute("aria-label", `Why: ${product.title ?? product.item}`);
  details.append(summary, ...said);
  return [details];
}

function recommended(product) {
  const row = entry(product, "Buy", reason(product), () => add(product));
  row.append(...why(product));
  return row;
}

const recommend = latest(
  "next-note",
  () => {
    const last = [...basket].slice(-1000);
    const history = last.map(([item]) => item);
    const times = last.map(([, { bought }]) => bought);
    return ask("recommend", { history, times, k: 12, explain: true, parts: true, clusters: true });
  },
  ({ items }) => {
    const popular = items.some((product) => product.reason === "popular");
    const words = popular ? "Popular products, until the model knows something that you bought" : "For what you bought";
    element("next-note").textContent = items.length ? words : "Nothing is left to recommend";
    const within = element("next").contains(document.activeElement);
    element("next").replaceChildren(...items.map(recommended));
    if (within) element("next").querySelector("button")?.focus();
  },
);

function add(product) {
  basket.delete(product.item); // what is bought again is the newest
  basket.set(product.item, { ...product, bought: Math.floor(Date.now() / 1000) });
  draw();
}

function draw() {
  const rows = [...basket.values()].map((p) =>
    entry(p, "Take back", "choose it to take it back", () => {
      basket.delete(p.item);
      draw();
      (element("basket").querySelector("button") ?? element("words")).focus();
    }),
  );
  element("basket").replaceChildren(...rows.reverse());
  element("basket-note").hidden = basket.size > 0;
  recommend();
}

let pause;
element("words").addEventListener("input", () => {
  clearTimeout(pause);
  pause = setTimeout(search, 120);
});
ask("health").then(
  (model) => (element("model").textContent = `${model.model}, ${model.items} products`),
  (error) => (element("model").textContent = `No answer: ${error.message}`),
);
draw();
