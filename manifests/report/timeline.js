/* The time line: first touches in each interval, all together and by package. */

const times = data.times;
const bins = times.bins;
const perBin = Array.from({length: bins}, (_, i) => sum(times.touches.map(c => c[i])));
const span = i => {
    if (!times.timed)
        return "paths " + count(i * times.width) + "\u2013" + count((i + 1) * times.width - 1);
    const unit = unitOf((i + 1) * times.width);
    return inUnit(i * times.width, unit) + "\u2013" + inUnit((i + 1) * times.width, unit) + "\u00a0" + unit[0];
};
/* The packages of an interval, with most of its touches first. */
const during = i => times.lanes.map(l => [plain(l[0]), l[1][i]]).filter(l => l[1]).sort((a, b) => b[1] - a[1]);
const described = i => {
    const packages = during(i), others = perBin[i] - sum(packages.map(p => p[1]));
    if (others)
        packages.push(["others", others]);
    return span(i) + ": " + plural(perBin[i], "first touch", "first touches") +
        (times.touches[ABSENT][i] ? ", " + count(times.touches[ABSENT][i]) + " of what is absent" : "") +
        (perBin[i] ? "; " + plural(times.calls[i], "call") + " of these paths in all" : "") +
        (packages.length ? " \u2014 " + packages.map(p => p[0] + "\u00a0" + count(p[1])).join(", ") : "");
};

const niceStep = (range, most) => {
    const power = 10 ** Math.floor(Math.log10(range / most));
    return [1, 2, 5, 10].map(n => n * power).find(n => range / n <= most);
};

/* One path of bars: from bottom(i), height(i) up. */
const bars = (x, width, height, bottom) => {
    let d = "";
    for (let i = 0; i < bins; i++)
        if (height(i))
            d += "M" + x(i).toFixed(2) + " " + bottom(i).toFixed(2) + "h" + width.toFixed(2) +
                "v" + (-height(i)).toFixed(2) + "h" + (-width).toFixed(2) + "z";
    return d;
};

const timeline = width => {
    const narrow = width < 640, left = narrow ? 34 : 190, top = 8, tall = 150, laneTop = top + tall + 34;
    const step = narrow ? 32 : 22, bar = 15, height = laneTop + times.lanes.length * step + 4;
    const right = width - 8, x = i => left + i * (right - left) / bins, thin = (right - left) / bins;
    const gap = thin > 3 ? 0.8 : 0.15;
    const most = Math.max(...perBin), tallest = Math.max(1, ...times.lanes.flatMap(l => l[1]));
    const chart = svg("svg", {class: "timeline", viewBox: "0 0 " + width + " " + height, tabindex: 0, role: "slider",
        "aria-label": "First touches in time", "aria-valuemin": 0, "aria-valuemax": bins - 1, "aria-valuenow": 0,
        "aria-valuetext": described(0), "data-total": sum(perBin)});
    const end = bins * times.width, at = t => left + t / end * (right - left);
    for (const [length, begin] of times.gaps.slice(0, 5))
        if (begin + length <= end && length >= times.width)
            chart.append(svg("rect", {class: "wait", x: at(begin).toFixed(2), y: top, height: height - top - 4,
                width: (at(begin + length) - at(begin)).toFixed(2)}));
    const up = Math.max(1, niceStep(most, 4));
    for (let n = 0; n <= most; n += up) {
        const y = top + tall - n / most * tall;
        chart.append(svg("line", {class: "axis", x1: left, x2: right, y1: y, y2: y}),
            svg("text", {class: "soft", x: left - 6, y: y + 4, "text-anchor": "end"}, count(n)));
    }
    const under = Array(bins).fill(0);
    CLASSES.forEach(([name], k) => {
        const touches = times.touches[k], scale = tall / most;
        chart.append(svg("path", {class: "fill " + name, d: bars(i => x(i) + gap / 2, thin - gap,
            i => touches[i] * scale, i => top + tall - under[i] * scale)}));
        touches.forEach((n, i) => { under[i] += n; });
    });
    const unit = times.timed ? unitOf(end) : ["", 1];
    const across = Math.max(times.timed ? 0 : 1, niceStep(end, narrow ? 4 : 9));
    for (let t = 0; t <= end; t += across)
        chart.append(svg("line", {class: "axis", x1: at(t), x2: at(t), y1: top + tall, y2: top + tall + 5}),
            svg("text", {class: "soft", x: at(t), y: top + tall + 18, "text-anchor": t ? "middle" : "start"},
                inUnit(t, unit) + (t ? "" : "\u00a0" + unit[0])));
    times.lanes.forEach(([name, touches], i) => {
        const base = laneTop + (i + 1) * step - 3;
        const text = narrow ? {x: left, y: base - bar - 3} : {x: left - 10, y: base - 3, "text-anchor": "end"};
        chart.append(svg("line", {class: "axis", x1: left, x2: right, y1: base, y2: base}),
            svg("text", text, fitted(plain(name), narrow ? right - left : left - 14)),
            svg("path", {class: "lane", d: bars(k => x(k) + gap / 2, thin - gap,
                k => touches[k] && Math.max(2, bar * Math.sqrt(touches[k] / tallest)), () => base)}));
    });
    const cursor = svg("rect", {class: "cursor", y: top, width: Math.max(2, thin), height: height - top - 4,
        visibility: "hidden"});
    chart.append(cursor);
    let now = 0;
    const go = to => {
        now = Math.max(0, Math.min(bins - 1, to));
        cursor.setAttribute("x", x(now));
        cursor.setAttribute("visibility", "visible");
        chart.setAttribute("aria-valuenow", now);
        chart.setAttribute("aria-valuetext", described(now));
        byId("readout").textContent = described(now);
    };
    const point = e => {
        const box = chart.getBoundingClientRect();
        go(Math.floor(((e.clientX - box.left) * width / box.width - left) / thin));
    };
    chart.addEventListener("pointermove", point);
    chart.addEventListener("pointerdown", point);
    chart.addEventListener("focus", () => go(now));
    chart.addEventListener("keydown", e => {
        const to = {ArrowRight: now + 1, ArrowUp: now + 1, ArrowLeft: now - 1, ArrowDown: now - 1, PageUp: now + 10,
            PageDown: now - 10, Home: 0, End: bins - 1}[e.key];
        if (to === undefined)
            return;
        e.preventDefault();
        go(to);
    });
    return chart;
};

const drawTimes = () => {
    if (!bins) {
        byId("times-what").textContent = "The manifest has no entries.";
        byId("times-table").hidden = true;
        return;
    }
    const unit = unitOf(times.width);
    const width = times.timed ? inUnit(times.width, unit) + "\u00a0" + unit[0] : plural(times.width, "path");
    byId("times-what").textContent = (times.timed
        ? "Paths touched for the first time, in each interval of " + width + "; "
        : "The manifest has no times. In the order of the first touch, " + width + " to an interval; ") +
        "below, the packages that had most of them." +
        (times.gaps.length ? " The shaded intervals are the longest waits." : "") +
        (times.later ? " Not shown: " + plural(times.later, "path") + " touched later, the last after " +
            duration(times.last) + "." : "");
    drawn("timeline", timeline);
    byId("readout").textContent = "Point at the chart, or move through it with the arrow keys, to see an interval.";
    const most = Math.max(...perBin);
    const rows = perBin.map((n, i) => [span(i), [count(n), n / most], count(times.touches[ABSENT][i]),
        during(i).slice(0, 4).map(p => p[0] + " " + count(p[1])).join(", ")]).filter((_, i) => perBin[i]);
    byId("times-table").append(table([number("interval"), number("first touches"), number("absent"), path("mostly")],
        rows, 400, "First touches in time"));
};
