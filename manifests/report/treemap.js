/* Treemaps: rectangles whose areas are as the packages' bytes, or calls. */

/* Rectangles of the items' values, largest first, as square as can be (Bruls, Huizing, van Wijk). */
const squarify = (items, width, height) => {
    const scale = width * height / sum(items.map(i => i.value));
    const rects = [];
    let x = 0, y = 0, w = width, h = height;
    for (let from = 0; from < items.length;) {
        const side = Math.min(w, h);
        let to = from, area = 0, worst = Infinity;
        for (; to < items.length; to++) {
            const next = area + items[to].value * scale;
            const ratio = Math.max(side * side * items[from].value * scale / (next * next),
                next * next / (side * side * items[to].value * scale));
            if (ratio > worst)
                break;
            worst = ratio;
            area = next;
        }
        const thick = area / side;
        let along = 0;
        for (let i = from; i < to; i++) {
            const length = items[i].value * scale / thick;
            rects.push(w >= h ? {x, y: y + along, w: thick, h: length} : {x: x + along, y, w: length, h: thick});
            along += length;
        }
        if (w >= h) {
            x += thick;
            w -= thick;
        } else {
            y += thick;
            h -= thick;
        }
        from = to;
    }
    return rects;
};

/* What is too small to be seen is one tile. */
const tilesOf = (which, show) => {
    const item = (name, p) => ({name, value: sum(p[which]), classes: p[which], entries: sum(p[1])});
    const all = data.packages.map(p => item(plain(p[0]), p)).filter(i => i.value).sort((a, b) => b.value - a.value);
    const total = sum(all.map(i => i.value)) + sum(data.other_packages[which]);
    const tiles = all.filter((i, k) => i.value >= total / 2500 && k < 200);
    const rest = all.slice(tiles.length);
    const others = item("", data.other_packages);
    for (const i of rest) {
        others.value += i.value;
        others.entries += i.entries;
        others.classes = others.classes.map((n, k) => n + i.classes[k]);
    }
    others.name = plural(rest.length + data.other_packages[0], "other package");
    if (others.value)
        tiles.push(others);
    tiles.sort((a, b) => b.value - a.value);
    for (const t of tiles) {
        const parts = CLASSES.map((c, k) => [t.classes[k], c[1]]).filter(p => p[0]).sort((a, b) => b[0] - a[0]);
        t.class = CLASSES[t.classes.indexOf(Math.max(...t.classes))][0];
        t.text = t.name + "\n" + [show(t.value), share(t.value, total), plural(t.entries, "path")].join(", ") + "\n" +
            parts.map(p => p[1] + " " + show(p[0])).join(", ");
    }
    return {tiles, total};
};

/* The arrow keys go from one tile to the next; only one of them is a stop of the tabulator. */
const withKeys = (map, elements) => {
    let at = 0;
    const go = to => {
        elements[at].setAttribute("tabindex", "-1");
        at = Math.max(0, Math.min(elements.length - 1, to));
        elements[at].setAttribute("tabindex", "0");
        elements[at].focus();
    };
    map.addEventListener("focusin", e => { at = Math.max(0, elements.indexOf(e.target)); });
    map.addEventListener("keydown", e => {
        const to = {ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0,
            End: elements.length - 1}[e.key];
        if (to === undefined)
            return;
        e.preventDefault();
        go(to);
    });
};

const treemap = (label, {tiles, total}, show, width) => {
    const height = Math.round(Math.max(280, Math.min(width * 0.6, 460)));
    const map = svg("svg", {class: "treemap", viewBox: "0 0 " + width + " " + height, role: "group",
        "aria-label": label, "data-total": total});
    const rects = tiles.length ? squarify(tiles, width, height) : [];
    const elements = rects.map((r, i) => {
        const t = tiles[i], name = r.h >= 18 ? fitted(t.name, r.w - 10) : "";
        const g = svg("g", {class: "tile " + t.class, tabindex: i ? "-1" : "0", role: "img", "aria-label": t.text,
            "data-value": t.value}, svg("rect", {x: r.x.toFixed(2), y: r.y.toFixed(2), width: r.w.toFixed(2),
            height: r.h.toFixed(2), rx: 2}));
        if (name)
            g.append(svg("text", {x: (r.x + 6).toFixed(2), y: (r.y + 15).toFixed(2)}, name));
        if (name && r.h >= 34 && fitted(show(t.value), r.w - 10) === show(t.value))
            g.append(svg("text", {class: "size", x: (r.x + 6).toFixed(2), y: (r.y + 30).toFixed(2)}, show(t.value)));
        g.addEventListener("pointermove", e => showTip(t.text, e.clientX, e.clientY));
        g.addEventListener("pointerleave", hideTip);
        g.addEventListener("focus", () => {
            const box = g.getBoundingClientRect();
            showTip(t.text, box.left, Math.min(box.top + 24, box.bottom));
        });
        g.addEventListener("blur", hideTip);
        return g;
    });
    map.append(...elements);
    if (elements.length)
        withKeys(map, elements);
    return map;
};

const drawPackages = () => {
    for (const [name, which, show, label] of [["bytes", 2, size, "Bytes by package"],
        ["calls", 3, count, "Calls by package"]]) {
        const figures = tilesOf(which, show);
        const packages = data.packages.map(p => [p[0], sum(p[which]), sum(p[1])]).filter(p => p[1])
            .sort((a, b) => b[1] - a[1]);
        const most = Math.max(sum(data.other_packages[which]), ...packages.map(p => p[1]));
        const rows = packages.map(p => [p[0], [show(p[1]), p[1] / most], share(p[1], figures.total), count(p[2])]);
        const others = sum(data.other_packages[which]);
        if (others)
            rows.push([plural(data.other_packages[0], "other package"), [show(others), others / most],
                share(others, figures.total), count(sum(data.other_packages[1]))]);
        byId("table-" + name).append(table([path("package"), number(name), number("share"), number("paths")], rows, 14,
            label));
        if (figures.tiles.length)
            drawn("map-" + name, width => treemap(label, figures, show, width));
        else
            byId("map-" + name).append(html("p", {class: "none"}, "None."));
    }
};
