"use strict";
/* What the drawing of the page shares: its data, words and numbers, elements. The figures are in #data (figures.c says
 * what they are). Whatever comes from the manifest reaches the page as text, never as HTML. */
const trouble = text => {
    const p = document.getElementById("trouble");
    p.hidden = false;
    p.append(p.textContent ? "; " : "This page could not be drawn as it should be: ", text);
};
addEventListener("error", e => trouble(e.message));
addEventListener("securitypolicyviolation", e => trouble("kept from using " + e.violatedDirective));

const data = JSON.parse(document.getElementById("data").textContent);
const CLASSES = [["python", "Python"], ["objects", "shared objects"], ["programs", "programs"], ["data", "data"],
    ["directories", "directories and links"], ["absent", "absent"]];
const ABSENT = 5, OPERATIONS = ["stat", "open", "list", "load", "exec", "write"];
const byId = id => document.getElementById(id);
const sum = list => list.reduce((a, b) => a + b, 0);

/* --- words and numbers ------------------------------------------------------------------------------------------- */

/* Characters that would change the direction of the text around them, or are not seen. */
const plain = text => text.replace(/[\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
    c => "\\u" + c.charCodeAt(0).toString(16));

/* Digits in groups of three; from five digits on, as in print. */
const count = n => n < 10000 ? String(n) : String(n).includes("e") ? String(n) :
    String(n).replace(/\B(?=(\d{3})+$)/g, "\u202f");
const plural = (n, one, many) => count(n) + "\u00a0" + (n === 1 ? one : many || one + "s");

const size = n => {
    const units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let unit = 0;
    for (; n >= (unit ? 999.95 : 1000) && unit < 6; unit++)
        n /= 1000;
    return (unit ? n.toFixed(1) : n) + "\u00a0" + units[unit];
};

const share = (part, all) => {
    const percent = all ? 100 * part / all : 0;
    const text = percent && percent < 0.1 ? "<\u20090.1" : percent < 10 ? percent.toFixed(1) : Math.round(percent);
    return text + "\u00a0%";
};

const UNITS = [["ns", 1], ["\u00b5s", 1e3], ["ms", 1e6], ["s", 1e9]];
const unitOf = ns => UNITS.findLast(u => ns >= u[1]) || UNITS[0];
const inUnit = (ns, unit) => String(+(ns / unit[1]).toPrecision(10));
const duration = ns => {
    const seconds = Math.round(ns / 1e9);
    if (seconds >= 120)
        return Math.floor(seconds / 60) + "\u00a0min " + seconds % 60 + "\u00a0s";
    const unit = unitOf(ns), n = ns / unit[1];
    return (n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : unit[1] === 1 ? n : n.toFixed(2)) + "\u00a0" + unit[0];
};

/* --- elements ---------------------------------------------------------------------------------------------------- */

const fill = (element, attributes, children) => {
    for (const [name, value] of Object.entries(attributes))
        element.setAttribute(name, value);
    element.append(...children);
    return element;
};
const html = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
    fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

/* What stands below the first line is less. */
const lines = text => {
    const [first, ...more] = text.split("\n");
    return [first, ...more.map(line => html("span", {class: "second"}, line))];
};

const number = title => ({title, number: true}), path = title => ({title, path: true});

/* columns: {title, number, path}; a cell is text, or [text, share of 1] where the column has a bar. The first
 * rows only, and a button for the rest. */
const table = (columns, rows, first, label) => {
    if (!rows.length)
        return html("p", {class: "none"}, "None.");
    const row = cells => {
        const tr = html("tr");
        columns.forEach((column, i) => {
            const cell = Array.isArray(cells[i]) ? cells[i] : [cells[i]];
            const td = html("td", {class: [column.number && "number", column.path && "path", cell.length > 1 && "share"]
                .filter(Boolean).join(" ")}, ...lines(plain(String(cell[0]))));
            if (cell.length > 1)
                td.style.setProperty("--share", 100 * cell[1] + "%");
            tr.append(td);
        });
        return tr;
    };
    const body = html("tbody", {}, ...rows.slice(0, first).map(row));
    const head = html("tr", {}, ...columns.map(c => html("th", {scope: "col", class: c.number ? "number" : "text"},
        c.title)));
    const all = html("div", {class: "wide"}, html("table", {"aria-label": label}, html("thead", {}, head), body));
    if (rows.length > first) {
        const button = html("button", {type: "button"}, "Show all " + count(rows.length));
        button.addEventListener("click", () => {
            body.append(...rows.slice(first).map(row));
            button.remove();
        });
        all.append(button);
    }
    return all;
};

const tip = byId("tip");
const showTip = (text, x, y) => {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = Math.min(x + 14, innerWidth - box.width - 8), below = y + 18 + box.height < innerHeight;
    tip.style.left = Math.max(8, left) + "px";
    tip.style.top = Math.max(8, below ? y + 18 : y - box.height - 12) + "px";
};
const hideTip = () => { tip.hidden = true; };
addEventListener("keydown", e => { if (e.key === "Escape") hideTip(); });
addEventListener("scroll", hideTip, {passive: true});

/* Draws again when the room has another width. */
const drawn = (id, draw) => {
    const figure = byId(id);
    let last = 0;
    const again = () => {
        const width = Math.floor(figure.clientWidth);
        if (width > 0 && width !== last) {
            last = width;
            figure.replaceChildren(draw(width));
        }
    };
    again();
    new ResizeObserver(() => requestAnimationFrame(again)).observe(figure);
};

/* As many characters as fit; of a path the end, which tells most. */
const fitted = (text, width) => {
    const most = Math.floor(width / 6.9);
    if (text.length <= most)
        return text;
    return most < 4 ? "" : text.startsWith("/") ? "\u2026" + text.slice(1 - most) : text.slice(0, most - 1) + "\u2026";
};
