/* The page, drawn from top to bottom. */

/* --- the head ---------------------------------------------------------------------------------------------------- */

const quoted = word => /^[\w@%+=:,.\/-]+$/.test(word) ? word : "'" + word.replace(/'/g, "'\\''") + "'";
const commandText = plain(data.command.map(quoted).join(" ")) + (data.words > data.command.length ? " \u2026" : "");

const drawHead = () => {
    byId("command").textContent = commandText || "A recorded start-up";
    document.title = commandText.slice(0, 80) + " \u2013 dlcache report";
    const recorded = data.recorded && data.recorded.replace("T", " ").replace("Z", " UTC");
    const facts = [["host", data.host], ["recorded", recorded], ["interpreter", data.interpreter],
        ["directory", data.cwd], ["exit status", String(data.exit_status)],
        ["kept below", data.prefixes.join(", ")]];
    for (const [name, value] of facts)
        if (value)
            byId("head").append(html("dt", {}, name), html("dd", {}, plain(value)));
    const entries = data.classes.map(c => c[0]), calls = data.classes.map(c => sum(c.slice(2)));
    const files = sum(entries.slice(0, 4)), all = sum(calls), times = data.times;
    const others = plural(entries[4], "directory or link", "directories and links");
    const totals = [[count(files), "files", others + " besides"],
        [size(data.bytes), "in files", "of " + plural(data.packages.length + data.other_packages[0], "package")],
        [count(all), "calls", count(sum(data.classes.map(c => c[3]))) + " opens, " +
            count(sum(data.classes.map(c => c[2]))) + " stats"],
        [count(entries[ABSENT]), "names absent", "asked for by " + share(calls[ABSENT], all) + " of the calls"],
        [count(data.processes), data.processes === 1 ? "process" : "processes", ""]];
    if (times.timed)
        totals.push([duration(times.last), "to the last first touch", "since the start"]);
    for (const [figure, name, more] of totals)
        byId("totals").append(html("li", {}, html("b", {}, figure), html("span", {}, name), html("span", {}, more)));
    for (const [name, title] of CLASSES)
        byId("legend").append(html("li", {class: name}, html("span", {}, title)));
    byId("made").textContent = "Made by dlcache " + data.version + " from a manifest of " +
        plural(data.entries, "path") + ".";
};

/* --- tables ------------------------------------------------------------------------------------------------------ */

const drawTables = () => {
    const waits = times.gaps.map(g => [[duration(g[0]), g[0] / times.gaps[0][0]], duration(g[1]),
        "after " + g[2] + "\nbefore " + g[3]]);
    byId("gaps").append(times.timed || !bins
        ? table([number("wait"), number("from"), path("between")], waits, 10, "The longest waits")
        : html("p", {class: "none"}, "The manifest has no times."));
    byId("names").append(table([path("name"), number("directories"), number("calls")],
        data.names.map(n => [n[0] + "\n" + (n[3] === null ? "never found" : "found: " + n[3]),
            [count(n[1]), n[1] / data.names[0][1]], count(n[2])]),
        12, "Names that were looked for in vain"));
    byId("directories").append(table([path("directory"), number("names"), number("calls")],
        data.directories.map(d => [d[0], [count(d[1]), d[1] / data.directories[0][1]], count(d[2])]),
        12, "Directories in which something was looked for in vain"));
    for (const [id, total, rows] of [["names", data.name_count, data.names],
        ["directories", data.directory_count, data.directories]])
        if (total > rows.length)
            byId(id).append(html("p", {class: "what"}, "These are the first of " + count(total) + "."));
    const parts = data.search.flatMap(([name, all]) => all.map(([directory, same, missed], i) => [i ? "" : name,
        count(i + 1), directory || "(the current directory)", count(missed), same ? "again: as place " + same : ""]));
    byId("search").append(table([path("variable"), number("place"), path("directory"), number("missed there"),
        {title: ""}], parts, 20, "Search paths of the environment"));
    if (data.search_left)
        byId("search").append(html("p", {class: "what"}, count(data.search_left) + " more are not shown."));
    byId("bytecode").append(table([number("modules"), number("of another source"), path("this makes it")],
        data.bytecode.map(b => [[count(b[0]), b[0] / data.bytecode[0][0]], b[1] ? count(b[1]) : "\u2013", b[2]]), 10,
        "Python modules without bytecode"));
    byId("biggest").append(table([path("file"), number("bytes")],
        data.biggest.map(f => [f[0], [size(f[1]), f[1] / data.biggest[0][1]]]), 10, "The biggest files"));
    byId("busiest").append(table([path("path"), number("calls")],
        data.busiest.map(f => [f[0], [count(f[1]), f[1] / data.busiest[0][1]]]), 10, "The paths with most calls"));
    const totals = data.classes[0].map((_, k) => sum(data.classes.map(c => c[k])));
    const row = (title, c) => [title, count(c[0]), size(c[1]), ...c.slice(2).map(n => n ? count(n) : "\u2013")];
    byId("kinds").append(table([{title: ""}, number("paths"), number("bytes"), ...OPERATIONS.map(number)],
        [...CLASSES.map(([, title], k) => row(title, data.classes[k])), row("all", totals)], 9,
        "Calls by kind of path"));
};

drawHead();
drawPackages();
drawTimes();
drawTables();
document.documentElement.dataset.drawn = "yes";
