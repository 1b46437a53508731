// The tables of the frozen grids and of an audit, whose cells are text such as '0.500 [0.400, 0.600]', '<.001' or '/'.

const MAIN = ["damage left", "RA", "rho_Acc - clean counter", "rho_Acc", "flip rate", "opposite", "shift"];
const WIDE = ["knows", "chance flips", "DER", "cells", "attainment", "best defense", "found by", "tier", "its RA", "reading"];
const NUMBER = /^[-+<]?\d*\.?\d+/;

// The number at the beginning of a text, otherwise the text; null where there is nothing.
function sortable(text) {
  if (text === "/" || text === "") return null;
  const match = text.match(NUMBER);
  return match ? Number(match[0].replace("<", "")) : text;
}

// A number and, below it, its interval.
function withRange(text) {
  const match = text.match(/^(\S+)( \[.*\])$/);
  return match ? [match[1], make("span", { class: "range" }, match[2])] : [text];
}

function rankingTable(table) {
  const name = table.columns.includes("defense") ? "defense" : "attack";
  const main = table.columns.filter(title => MAIN.includes(title))
    .sort((a, b) => MAIN.indexOf(a) - MAIN.indexOf(b)).slice(0, 3);
  const first = ["rank", "model", name].filter(title => table.columns.includes(title));
  const places = unique([...first, ...main, ...table.columns]).map(title => table.columns.indexOf(title));
  const columns = places.map(place => {
    const title = table.columns[place], texts = table.rows.map(row => row[place]).filter(text => text !== "/");
    const isText = first.includes(title) || !texts.every(text => NUMBER.test(text));
    return {
      title, main: [...first, ...main].includes(title), name: title === name, text: isText,
      above: title !== name && title === first[0], wide: WIDE.includes(title),
      value: row => title === name ? row[place] : sortable(row[place]),
      fill: row => title === name ? linkedName(row, place, table) : withRange(row[place])
    };
  });
  const namesOf = row => first.map(title => row[table.columns.indexOf(title)]).join(" ");
  const shown = dataTable({ id: table.id, title: table.title, caption: captionOf(table), columns, rows: table.rows,
    searched: { title: `filter ${name}s`, text: namesOf } });
  const notes = make("details", {}, make("summary", {}, "How these numbers were computed"),
    make("ul", {}, ...table.notes.map(note => make("li", {}, note))));
  return { refresh: shown.refresh,
    elements: [make("h2", {}, table.title), ...table.lead.map(text => make("p", {}, text)), ...shown.elements, notes] };
}

function captionOf(table) {
  const place = table.columns.indexOf("cells");
  const wanted = place < 0 ? "" : table.rows[0][place].split("/")[1];
  return `${wanted ? `Ranked rows have all ${wanted} cells of the grid. ` : ""}Brackets hold 95% intervals.`;
}

const base = text => text.split(" (")[0];

// The state in which the table of all results shows those of a row of a board; null if there are none.
function cellsOf(text, kind, table, model) {
  const candidates = rows.filter(row => !model || row.model === model);
  const exact = candidates.filter(row => row[kind] === text);
  // What tells apart the rows of a board may be other settings than those that tell apart all results.
  const found = exact.length ? exact : candidates.filter(row => base(row[kind]) === base(text));
  if (!found.length) return null;
  const place = { tab: "cells", ...model ? { "cells.model": model } : {} };
  if (kind === "attack") return { ...place, ...exact.length ? { "cells.attack": text } : { "cells.find": base(text) } };
  const [{ name }] = found, variants = unique(rows.filter(row => row.name === name).map(row => row.defense));
  return { ...place, "cells.protocol": table.grid, "cells.name": name,
    ...exact.length && variants.length > 1 ? { "cells.find": text } : {} };
}

// A name leads to its cells and, if several strengths of a defense were run, also to them.
function linkedName(row, place, table) {
  const [text, kind] = [row[place], table.columns[place]], model = table.columns.indexOf("model");
  const cells = cellsOf(text, kind, table, model < 0 ? null : base(row[model]));
  if (!cells) return broken(text);
  const link = make("a", { href: address(cells) }, ...broken(text));
  if (kind !== "defense" || !frontiers.some(one => one.name === base(text))) return [link];
  return [link, " ", make("a", { class: "more", href: address({ tab: "frontiers", "frontiers.name": base(text) }),
    "aria-label": `strengths of ${base(text)}` }, "strengths")];
}
