// The tabs: both sides of the leaderboard, the grids of each, the strengths of defenses, and all
// results. And the colours.

const refreshers = []; // what shows the state, after somebody followed a link

// A list of tabs above their panels; one panel alone needs no list.
// key: of the state that says which panel is shown. entries: {id, title, elements}.
function tabbed(key, label, entries) {
  if (entries.length < 2) return entries.flatMap(entry => entry.elements);
  const tabs = entries.map(({ id, title }) => make("button", { type: "button", role: "tab",
    id: `tab-${key}-${id}`, "aria-controls": `panel-${key}-${id}` }, title));
  const panels = entries.map(({ id, elements }) => make("div", { role: "tabpanel",
    id: `panel-${key}-${id}`, "aria-labelledby": `tab-${key}-${id}`, tabindex: "-1" },
  ...elements));

  const select = place => tabs.forEach((tab, other) => {
    tab.setAttribute("aria-selected", String(other === place));
    tab.tabIndex = other === place ? 0 : -1;
    panels[other].hidden = other !== place;
  });
  const go = place => {
    keep(key, place ? entries[place].id : "");
    select(place);
    tabs[place].focus();
  };
  tabs.forEach((tab, place) => {
    const last = tabs.length - 1;
    const places = { ArrowRight: place === last ? 0 : place + 1,
      ArrowLeft: place === 0 ? last : place - 1, Home: 0, End: last };
    tab.addEventListener("click", () => go(place));
    tab.addEventListener("keydown", event => {
      if (!(event.key in places)) return;
      event.preventDefault();
      go(places[event.key]);
    });
  });
  refreshers.push(() => {
    const wanted = entries.findIndex(({ id }) => id === state.get(key));
    select(Math.max(0, wanted));
  });
  return [make("div", { role: "tablist", "aria-label": label }, ...tabs), ...panels];
}

// The elements of a part of the page, which from now on follows the state.
function following({ elements, refresh }) {
  refreshers.push(refresh);
  return elements;
}

function sideEntry(side) {
  const id = side.toLowerCase();
  const grids = rankings.filter(table => table.side === side).map(table => (
    { id: table.id, title: table.grid || table.title, elements: following(rankingTable(table)) }));
  return { id, title: side, elements: tabbed(`${id}.grid`, `Grids of ${side}`, grids) };
}

const theme = document.getElementById("theme"), DARK = matchMedia("(prefers-color-scheme: dark)");

// The colours are those of the system until one asks for others.
function showTheme() {
  const asked = ["dark", "light"].includes(state.get("theme")) ? state.get("theme") : "";
  document.documentElement.dataset.theme = asked;
  theme.setAttribute("aria-pressed", String(asked ? asked === "dark" : DARK.matches));
}

theme.addEventListener("click", () => {
  keep("theme", theme.getAttribute("aria-pressed") === "true" ? "light" : "dark");
  showTheme();
});
DARK.addEventListener("change", showTheme);

// Somebody followed a link to another place of the page.
addEventListener("hashchange", () => {
  const asked = state.get("theme");
  state = new URLSearchParams(location.hash.slice(1));
  if (asked && !state.has("theme")) keep("theme", asked);
  showTheme();
  refreshers.forEach(refresh => refresh());
  document.querySelector("#main > [role=tabpanel]:not([hidden])")?.focus();
});

const entries = unique(rankings.map(table => table.side)).map(sideEntry);
if (frontiers.length)
  entries.push({ id: "frontiers", title: "Strengths", elements: following(frontierPanel()) });
entries.push({ id: "cells", title: "All results", elements: following(cellsTable()) });
document.getElementById("main").append(...tabbed("tab", "Parts of the leaderboard", entries));
showTheme();
refreshers.forEach(refresh => refresh());
