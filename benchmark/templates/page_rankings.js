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
      wide: WIDE.includes(title),
      value: row => title === name ? row[place] : sortable(row[place]),
      fill: row => title === name ? linkedName(row[place], name, table) : withRange(row[place])
    };
  });
  const ofName = row => row[table.columns.indexOf(name)];
  const shown = dataTable({ id: table.id, caption: captionOf(table), columns, rows: table.rows,
    searched: { title: `filter ${name}s`, text: ofName } });
  const notes = make("details", {}, make("summary", {}, "How these numbers were computed"),
    make("ul", {}, ...table.notes.map(note => make("li", {}, note))));
  return { refresh: shown.refresh,
    elements: [make("h2", {}, table.title), ...table.lead.map(text => make("p", {}, text)), ...shown.elements, notes] };
}

function captionOf(table) {
  const place = table.columns.indexOf("cells");
  const wanted = place < 0 ? "" : table.rows[0][place].split("/")[1];
  return `${table.title}.${wanted ? ` A ranked row is a mean over all ${wanted} cells of the grid.` : ""} Brackets hold 95% intervals.`;
}

// The address of the cells of a defense or of an attack; null if there are none.
function cellsOf(text, kind, grid) {
  const exact = rows.filter(row => row[kind] === text);
  // What tells apart the rows of the board may be more than what tells apart the cells.
  const [base] = text.split(" (");
  const found = exact.length ? exact : rows.filter(row => row[kind].split(" (")[0] === base);
  if (!found.length) return null;
  const place = { tab: "cells" };
  if (kind === "attack") return address({ ...place, ...exact.length ? { "cells.attack": text } : { "cells.find": base } });
  const [{ name }] = found, variants = unique(rows.filter(row => row.name === name).map(row => row.defense));
  if (exact.length && variants.length > 1) place["cells.find"] = text;
  return address({ ...place, "cells.protocol": grid, "cells.name": name });
}

// A name leads to its cells and, if several strengths of a defense were run, also to them.
function linkedName(text, kind, table) {
  const cells = cellsOf(text, kind, table.grid), name = text.split(" (")[0];
  if (!cells) return [text];
  const link = make("a", { href: cells }, text);
  if (kind !== "defense" || !frontiers.some(one => one.name === name)) return [link];
  return [link, " ", make("a", { class: "more", href: address({ tab: "frontiers", "frontiers.name": name }),
    "aria-label": `strengths of ${name}` }, "strengths")];
}
