"""The page that `dlcache report` makes: its figures in a real browser's document, its pictures, what it does with
hostile names, and that it asks nobody for anything."""
import html.parser
import http.server
import json
import os
import re
import struct
import subprocess
import threading
import zlib

from harness import DLCACHE, PYTHON, Case, environment

VOID = {"meta", "link", "img", "br", "hr", "input", "wbr"}
MOST = 2 ** 63 - 1


def entry(path, kind="data", size=None, order=0, ms=0, **counts):
    e = {"path": path, "kind": kind, "counts": counts, "order": order, "first_ns": ms * 1000000, "processes": 1}
    if size is not None:
        e.update(size=size, mtime_ns=1, mode=0o100644)
    return e


def manifest(*entries, **head):
    return {"format": "dlcache-manifest", "version": 1, "command": ["python", "app.py"],
            "policy": {"prefixes": ["/sw"]}, "entries": list(entries), **head}


class Element:
    def __init__(self, tag, attributes):
        self.tag, self.attributes, self.children = tag, dict(attributes), []

    def __getitem__(self, name):
        return self.attributes[name]

    def walk(self):
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.walk()

    def all(self, tag, cls=None):
        return [e for e in self.walk() if e.tag == tag and
                (cls is None or cls in e.attributes.get("class", "").split())]

    def id(self, name):
        found = [e for e in self.walk() if e.attributes.get("id") == name]
        assert len(found) == 1, (name, len(found))
        return found[0]

    def text(self):
        return "".join(c.text() if isinstance(c, Element) else c for c in self.children)


class Document(html.parser.HTMLParser):
    """A tree of elements; what is not closed, or closed wrongly, is an error."""

    def __init__(self, text):
        super().__init__()
        self.root = Element("", ())
        self.open, self.wrong, self.doctype = [self.root], [], None
        self.feed(text)
        self.close()
        self.wrong += [e.tag for e in self.open[1:]]

    def handle_decl(self, decl):
        self.doctype = decl

    def handle_starttag(self, tag, attrs):
        e = Element(tag, attrs)
        self.open[-1].children.append(e)
        if tag not in VOID:
            self.open.append(e)

    def handle_endtag(self, tag):
        if self.open[-1].tag == tag:
            self.open.pop()
        else:
            self.wrong.append("/" + tag)

    def handle_data(self, data):
        self.open[-1].children.append(data)


def pixels(path):
    """A PNG's rows of (r, g, b): 8 bits, RGB or RGBA, as browsers write them."""
    with open(path, "rb") as f:
        png = f.read()
    at, data = 8, b""
    width, height, depth, colour = struct.unpack(">IIBB", png[16:26])
    assert depth == 8 and colour in (2, 6)
    while at < len(png):
        n, kind = struct.unpack(">I4s", png[at:at + 8])
        data += png[at + 8:at + 8 + n] if kind == b"IDAT" else b""
        at += n + 12
    step = 3 if colour == 2 else 4
    raw, last, rows = zlib.decompress(data), bytearray(width * step), []
    for y in range(height):
        begin = y * (width * step + 1)
        how, line = raw[begin], bytearray(raw[begin + 1:begin + 1 + width * step])
        for i in range(len(line) if how else 0):
            left, up, corner = (line[i - step], last[i], last[i - step]) if i >= step else (0, last[i], 0)
            if how == 4:
                p = left + up - corner
                best = min((abs(p - left), 0, left), (abs(p - up), 1, up), (abs(p - corner), 2, corner))[2]
            else:
                best = (0, left, up, (left + up) // 2)[how]
            line[i] = (line[i] + best) & 255
        rows.append([tuple(line[i:i + 3]) for i in range(0, len(line), step)])
        last = line
    return rows


class Report(Case):
    seen = {}  # (a page's text, how it was looked at): what the browser printed

    def page(self, m, name="m"):
        """The page of a manifest; its path."""
        text = m if isinstance(m, (bytes, str)) else json.dumps(m)
        self.write(name + ".json", text)
        out = self.dlcache("report", self.path(name + ".json"), "-o", self.path(name + ".html"))
        self.assertEqual((out.stdout, out.stderr), ("", ""))
        return self.path(name + ".html")

    def read(self, path):
        with open(path, encoding="utf-8") as f:
            return f.read()

    def chromium(self, page, *args, width=1400, height=1000, dark=False):
        env = environment(HOME=self.tmp, XDG_CONFIG_HOME=self.path("config"), XDG_CACHE_HOME=self.path("cache"))
        return self.run_command(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
             "--user-data-dir=" + self.path("profile"), "--enable-logging=stderr", "--virtual-time-budget=5000",
             "--window-size=%d,%d" % (width, height), *(["--blink-settings=preferredColorScheme=0"] if dark else []),
             *args, "file://" + page], env=env)

    def browse(self, page, clean=True, **how):
        """The document as the browser has it when the page's script has run."""
        key = (self.read(page), *sorted(how.items()))
        if key not in self.seen:
            self.seen[key] = self.chromium(page, "--dump-dom", **how)
        out = self.seen[key]
        document = Document(out.stdout).root
        if clean:
            trouble = document.id("trouble")
            self.assertEqual((trouble.text(), "hidden" in trouble.attributes), ("", True))
            self.assertEqual(re.findall(".*CONSOLE.*", out.stderr), [])
            self.assertEqual(document.all("html")[0].attributes.get("data-drawn"), "yes")
        return document

    def rows(self, document, name):
        """The first table there: its rows of texts."""
        table = document.id(name).all("table")[0]
        return [[cell.text().replace("\xa0", " ") for cell in row.all("td")] for row in table.all("tbody")[0].all("tr")]

    def with_script(self, page, script):
        """The page, and at its end a script that it lets run."""
        text = self.read(page)
        nonce = re.search(r"'nonce-([0-9a-f]{32})'", text)[1]
        return self.write("scripted.html",
                          text.replace("</body>", "<script nonce=\"%s\">%s</script></body>" % (nonce, script)))


PACKAGES = "/sw/lib/python3.11/site-packages/"
SMALL = manifest(
    entry(PACKAGES + "numpy/core.so", "shared-object", 6000000, 5, 20, load=2, stat=1),
    entry(PACKAGES + "numpy/a.py", "module", 1000000, 6, 31, open=3),
    entry(PACKAGES + "six.py", "module", 500000, 7, 32, open=1, stat=4),
    entry(PACKAGES + "__pycache__/six.cpython-311.pyc", "bytecode", 500000, 8, 33, open=1),
    entry("/sw/bin/python", "executable", 2000000, 0, 1, exec=1),
    entry("/sw/a/libx.so", "absent", None, 1, 10, load=1), entry("/sw/b/libx.so", "absent", None, 2, 11, load=2),
    entry("/sw/c/libx.so", "absent", None, 3, 12, load=1), entry("/sw/d/libx.so", "shared-object", 0, 4, 13, load=1),
    entry("/sw/e/libx.so", "absent", None, 9, 133, load=1), entry("/sw/a/none", "absent", None, 10, 134, stat=7),
    entry("/sw/d", "directory", 4096, 11, 135, list=1),
    host="node1", recorded="2026-01-02T03:04:05Z", interpreter="/sw/bin/python3.11", cwd="/home/me", exit_status=3,
    processes=2, search=[{"name": "LD_LIBRARY_PATH", "value": "/sw/a:/sw/b:/sw/a/:/sw/d"}])


class Figures(Report):
    def test_the_head(self):
        document = self.browse(self.page(SMALL))
        self.assertEqual(document.id("command").text(), "python app.py")
        self.assertEqual(document.all("title")[0].text(), "python app.py – dlcache report")
        head = [e.text() for e in document.id("head").children]
        self.assertEqual(dict(zip(head[::2], head[1::2])), {
            "host": "node1", "recorded": "2026-01-02 03:04:05 UTC", "interpreter": "/sw/bin/python3.11",
            "directory": "/home/me", "exit status": "3", "kept below": "/sw"})
        totals = {li.children[1].text(): li.children[0].text().replace("\xa0", " ")
                  for li in document.id("totals").all("li")}
        self.assertEqual(totals, {"files": "6", "in files": "10.0 MB", "calls": "27", "names absent": "5",
                                  "processes": "2", "to the last first touch": "135 ms"})

    def tiles(self, document, name):
        """Of a treemap: [(aria-label, value, x, y, w, h)], its total, its size."""
        picture = document.id(name).all("svg", "treemap")[0]
        box = [float(n) for n in picture["viewbox"].split()]
        found = []
        for g in picture.all("g", "tile"):
            rect = g.all("rect")[0]
            found.append((g["aria-label"].replace("\xa0", " "), float(g["data-value"]),
                          *(float(rect[k]) for k in ("x", "y", "width", "height"))))
        return found, float(picture["data-total"]), box[2:]

    def assert_is_treemap(self, tiles, total, size):
        """Their areas are as their values; none lies over another, or outside."""
        self.assertAlmostEqual(sum(t[1] for t in tiles), total, delta=total * 1e-9)
        self.assertEqual([t[1] for t in tiles], sorted((t[1] for t in tiles), reverse=True))
        width, height = size
        for i, (label, value, x, y, w, h) in enumerate(tiles):
            self.assertAlmostEqual(w * h, value / total * width * height, delta=0.02 * (w + h) + 0.1, msg=label)
            if value > total / 20:
                self.assertLess(max(w / h, h / w), 5, label)
            self.assertTrue(x >= -0.02 and y >= -0.02 and x + w <= width + 0.02 and y + h <= height + 0.02, label)
            for other in tiles[:i]:
                across = min(x + w, other[2] + other[4]) - max(x, other[2])
                down = min(y + h, other[3] + other[5]) - max(y, other[3])
                self.assertFalse(across > 0.03 and down > 0.03, (label, other))

    def test_treemaps(self):
        document = self.browse(self.page(SMALL))
        tiles, total, size = self.tiles(document, "map-bytes")
        self.assertEqual(total, 10000000)
        self.assertEqual([t[0] for t in tiles], [
            "numpy\n7.0 MB, 70 %, 2 paths\nshared objects 6.0 MB, Python 1.0 MB",
            "/sw/bin\n2.0 MB, 20 %, 1 path\nprograms 2.0 MB", "six\n1.0 MB, 10 %, 2 paths\nPython 1.0 MB"])
        self.assert_is_treemap(tiles, total, size)
        tiles, total, size = self.tiles(document, "map-calls")
        self.assertEqual(total, 27)
        self.assertEqual(tiles[0][:2], ("/sw/a\n8, 30 %, 2 paths\nabsent 8", 8))
        self.assertEqual({t[1] for t in tiles}, {8, 6, 2, 1})
        self.assert_is_treemap(tiles, total, size)
        self.assertEqual(self.rows(document, "table-bytes"), [
            ["numpy", "7.0 MB", "70 %", "2"], ["/sw/bin", "2.0 MB", "20 %", "1"], ["six", "1.0 MB", "10 %", "2"]])

    def test_treemap_of_a_thousand_packages(self):
        entries = [entry("%sp%d/m.py" % (PACKAGES, i), "module", 1 + i * i, i, i, stat=1 + i % 7) for i in range(1000)]
        document = self.browse(self.page(manifest(*entries)), width=500)
        tiles, total, size = self.tiles(document, "map-bytes")
        self.assertEqual(total, sum(e["size"] for e in entries))
        self.assertEqual(len(tiles), 201)
        self.assertRegex(tiles[0][0], r"\A800 other packages\n")
        self.assert_is_treemap(tiles, total, size)
        tiles, total, size = self.tiles(document, "map-calls")
        self.assertEqual(total, sum(e["counts"]["stat"] for e in entries))
        self.assert_is_treemap(tiles, total, size)

    def test_the_time_line(self):
        document = self.browse(self.page(SMALL))
        line = document.all("svg", "timeline")[0]
        self.assertEqual((line["data-total"], line["aria-valuemax"]), ("12", "135"))
        self.assertEqual([t.text() for t in line.all("text") if "class" not in t.attributes], [
            "/sw/bin", "/sw/a", "/sw/b", "/sw/c", "/sw/d", "numpy", "six", "/sw/e", "/sw"])
        self.assertEqual(self.rows(document, "times-table")[:2], [
            ["1–2 ms", "1", "0", "/sw/bin 1"], ["10–11 ms", "1", "1", "/sw/a 1"]])
        self.assertEqual([row[:2] for row in self.rows(document, "gaps")[:3]], [
            ["100 ms", "33.0 ms"], ["11.0 ms", "20.0 ms"], ["9.00 ms", "1.00 ms"]])
        self.assertEqual(self.rows(document, "gaps")[0][2],
                         "after %s__pycache__/six.cpython-311.pycbefore /sw/e/libx.so" % PACKAGES)
        self.assertEqual(len(document.all("rect", "wait")), 5)

    def test_what_comes_late_does_not_hide_the_start(self):
        entries = [entry("/sw/%d" % i, size=1, order=i, ms=i) for i in range(100)]
        entries.append(entry("/sw/late", size=1, order=100, ms=3600000))
        document = self.browse(self.page(manifest(*entries)))
        self.assertEqual(document.all("svg", "timeline")[0]["data-total"], "100")
        self.assertIn("Not shown: 1\xa0path touched later, the last after 60\xa0min 0\xa0s.",
                      document.id("times-what").text())
        self.assertEqual(self.rows(document, "gaps")[0][0], "60 min 0 s")

    def test_searches(self):
        document = self.browse(self.page(SMALL))
        self.assertEqual(self.rows(document, "names"), [
            ["libx.sofound: /sw/d/libx.so", "3", "4"], ["nonenever found", "1", "7"]])
        self.assertEqual(self.rows(document, "directories"), [
            ["/sw/a", "2", "8"], ["/sw/b", "1", "2"], ["/sw/c", "1", "1"], ["/sw/e", "1", "1"]])
        self.assertEqual(self.rows(document, "search"), [
            ["LD_LIBRARY_PATH", "1", "/sw/a", "2", ""], ["", "2", "/sw/b", "1", ""],
            ["", "3", "/sw/a", "2", "again: as place 1"], ["", "4", "/sw/d", "0", ""]])

    def test_modules_without_bytecode(self):
        cache = PACKAGES + "np/__pycache__/"
        stale = dict(entry(cache + "b.cpython-311.pyc", "bytecode", 10, 4, 4, open=1), stale=True)
        m = manifest(entry(PACKAGES + "np/a.py", "module", 10, 1, 1, open=1), stale,
                     entry(cache + "a.cpython-311.pyc", "absent", None, 2, 2, open=1),
                     entry(PACKAGES + "np/b.py", "module", 10, 3, 3, open=1), interpreter="/sw/bin/python3.11")
        cells = [td.text() for td in self.browse(self.page(m)).id("bytecode").all("td")]
        self.assertEqual(cells, ["2", "1", "/sw/bin/python3.11 -m compileall -q -f " + PACKAGES + "np"])
        self.assertEqual(self.browse(self.page(SMALL)).id("bytecode").text(), "None.")

    def test_paths_that_stand_out(self):
        document = self.browse(self.page(SMALL))
        self.assertEqual(self.rows(document, "biggest")[0], [PACKAGES + "numpy/core.so", "6.0 MB"])
        self.assertEqual(self.rows(document, "busiest")[0], ["/sw/a/none", "7"])
        self.assertEqual(self.rows(document, "kinds"), [
            ["Python", "3", "2.0 MB", "4", "5", "–", "–", "–", "–"],
            ["shared objects", "2", "6.0 MB", "1", "–", "–", "3", "–", "–"],
            ["programs", "1", "2.0 MB", "–", "–", "–", "–", "1", "–"],
            ["data", "0", "0 B", "–", "–", "–", "–", "–", "–"],
            ["directories and links", "1", "0 B", "–", "–", "1", "–", "–", "–"],
            ["absent", "5", "0 B", "7", "–", "–", "5", "–", "–"],
            ["all", "12", "10.0 MB", "12", "5", "1", "8", "1", "–"]])

    def test_a_recorded_pilot(self):
        self.record(self.path("r.json"), [PYTHON, "-c", "import json, unittest"], include=["/usr"])
        with open(self.path("r.json"), encoding="utf-8") as f:
            entries = json.load(f)["entries"]
        document = self.browse(self.page(self.read(self.path("r.json")), "r"))
        tiles, total, size = self.tiles(document, "map-bytes")
        self.assertEqual(total, sum(e["size"] for e in entries if e["kind"] not in ("directory", "symlink", "absent")))
        self.assert_is_treemap(tiles, total, size)
        tiles, total, size = self.tiles(document, "map-calls")
        self.assertEqual(total, sum(sum(e.get("counts", {}).values()) for e in entries))
        self.assert_is_treemap(tiles, total, size)
        self.assertIn("unittest", [row[0] for row in self.rows(document, "table-calls")])
        self.assertEqual(document.all("svg", "timeline")[0]["data-total"], str(len(entries)))

    def test_manifests_at_the_edge(self):
        counts = dict.fromkeys(("stat", "open", "list", "load", "exec", "write"), MOST)
        most = {"path": "/sw/most", "kind": "data", "size": MOST, "mtime_ns": 0, "mode": 0o100644, "counts": counts,
                "order": MOST, "first_ns": MOST}
        bare = {"path": "/sw/bare", "kind": "data"}
        untimed = [entry("/sw/%d" % i, "absent", order=i, stat=1) for i in range(500)]
        for name, m in (("none", manifest()), ("one", manifest(entry("/sw/x", size=5, stat=1))),
                        ("bare", manifest(bare)), ("untimed", manifest(*untimed)),
                        ("most", manifest(most, {**most, "path": "/sw/more"}, bare)),
                        ("wordless", manifest(command=[]))):
            with self.subTest(name):
                document = self.browse(self.page(m, name))
                self.assertEqual(sum(float(t["data-total"]) for t in document.all("svg", "timeline")),
                                 len(m["entries"]))
        self.assertIn("The manifest has no times. In the order of the first touch, 5\xa0paths to an interval",
                      self.browse(self.path("untimed.html")).id("times-what").text())


class Looks(Report):
    """Wide and narrow, light and dark: what is seen, and how it is moved in."""

    def test_no_trouble_at_any_width(self):
        page = self.page(SMALL)
        for width, dark in ((320, False), (400, True), (700, False), (1000, True), (2400, False)):
            with self.subTest(width=width, dark=dark):
                document = self.browse(page, width=width, dark=dark)
                self.assertEqual(len(document.all("svg")), 3)

    def test_it_is_drawn_again_for_another_width(self):
        script = """
            const widths = () => [...document.querySelectorAll("svg")].map(s => s.viewBox.baseVal.width -
                s.parentElement.clientWidth);
            const seen = [], sizes = [500, 900, 350];
            const step = () => {
                seen.push(widths());
                document.documentElement.dataset.widths = JSON.stringify(seen);
                if (sizes.length)
                    document.body.style.width = sizes.shift() + "px";
            };
            new MutationObserver(step).observe(document.getElementById("timeline"), {childList: true});
            step();"""
        document = self.browse(self.with_script(self.page(SMALL), script))
        self.assertEqual(json.loads(document.all("html")[0]["data-widths"]), [[0, 0, 0]] * 4)
        self.assertLess(float(document.all("svg")[0]["viewbox"].split()[2]), 350)

    def test_nothing_is_wider_than_the_window(self):
        long = manifest(*(entry("/sw/" + "d" * 200 + "/%d" % i, "absent", order=i, stat=1) for i in range(40)),
                        command=["x" * 300], host="h" * 200, search=[{"name": "N" * 90, "value": "/" + "p" * 300}])
        script = "document.documentElement.dataset.wide = document.documentElement.scrollWidth - innerWidth"
        for m in (SMALL, long):
            page = self.with_script(self.page(m), script)
            for width in (400, 1400):
                self.assertLessEqual(int(self.browse(page, width=width).all("html")[0]["data-wide"]), 0)

    def test_what_is_seen(self):
        page = self.page(SMALL)
        for dark, back, python in ((False, (0xfc, 0xfc, 0xfb), (0x44, 0x77, 0xaa)),
                                   (True, (0x15, 0x17, 0x1b), (0x55, 0x88, 0xbd))):
            picture = self.path("%d.png" % dark)
            self.chromium(page, "--screenshot=" + picture, width=600, height=1300, dark=dark)
            rows = pixels(picture)
            self.assertEqual((len(rows), len(rows[0]), rows[0][0]), (1300, 600, back))
            # The treemap of bytes is the first place with much of its colour: numpy has 70 % of it, six 10 %.
            objects = [row.count((0xdd, 0xaa, 0x33)) for row in rows]
            begin = next(i for i, n in enumerate(objects) if n > 100)
            end = next(i for i in range(begin, len(rows)) if objects[i] <= 100)
            ratio = sum(objects[begin:end]) / sum(row.count(python) for row in rows[begin:end])
            self.assertTrue(6.5 < ratio < 7.8, ratio)

    def test_keys(self):
        script = """
            const seen = [];
            const key = (e, name) => e.dispatchEvent(new KeyboardEvent("keydown", {key: name, bubbles: true}));
            const note = () => seen.push(document.activeElement.getAttribute("aria-label").split("\\n")[0] + "|" +
                document.getElementById("tip").textContent.split("\\n")[0]);
            document.querySelector("#map-bytes .tile[tabindex='0']").focus();
            note();
            for (const name of ["ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft", "Home", "End"]) {
                key(document.activeElement, name);
                note();
            }
            seen.push(document.querySelectorAll("#map-bytes .tile[tabindex='0']").length);
            key(document.activeElement, "Escape");
            seen.push(document.getElementById("tip").hidden);
            const line = document.querySelector(".timeline"), said = document.getElementById("readout");
            line.focus();
            key(line, "ArrowRight");
            seen.push(line.getAttribute("aria-valuenow"), said.textContent);
            key(line, "End");
            seen.push(line.getAttribute("aria-valuetext") === said.textContent, said.textContent);
            document.documentElement.dataset.seen = JSON.stringify(seen);"""
        document = self.browse(self.with_script(self.page(SMALL), script))
        seen = json.loads(document.all("html")[0]["data-seen"])
        self.assertEqual(seen[:7], ["numpy|numpy", "/sw/bin|/sw/bin", "six|six", "six|six", "/sw/bin|/sw/bin",
                                    "numpy|numpy", "six|six"])
        self.assertEqual(seen[7:], [
            1, True, "1", "1–2\xa0ms: 1\xa0first touch; 1\xa0call of these paths in all — /sw/bin\xa01", True,
            "135–136\xa0ms: 1\xa0first touch; 1\xa0call of these paths in all — /sw\xa01"])

    def test_all_rows_when_asked_for(self):
        m = manifest(*(entry("%sp%02d/m.py" % (PACKAGES, i), "module", 1000 - i, i, i) for i in range(40)))
        page = self.page(m)
        self.assertEqual(len(self.rows(self.browse(page), "table-bytes")), 14)
        page = self.with_script(page, "document.querySelector('#table-bytes button').click()")
        document = self.browse(page)
        self.assertEqual(len(self.rows(document, "table-bytes")), 40)
        self.assertEqual(document.id("table-bytes").all("button"), [])


NASTY = ["</script><script>document.documentElement.dataset.owned = 1</script>", "<!--<script>", "-->", "]]>",
         "<img src=x onerror=\"document.documentElement.dataset.owned = 1\">", "'\"`${1}\\", "&lt;b&gt;&amp;",
         "a\nb\tc\rd\x1b[31m\x7f", "\u2028\u2029", "\u202edcba\u200b", "@data@@nonce@@page@", "漢字😀",
         "javascript:alert(1)"]


class Hostile(Report):
    def nasty(self):
        entries = [entry("/sw/%s/%s" % ((n.replace("/", "∕"),) * 2), "data", 1000000 - i, i, i + 1, stat=5)
                   for i, n in enumerate(NASTY)]
        entries += [entry("/sw/gone" + str(i) + "/" + n, "absent", None, 50 + i, 50 + i, stat=1)
                    for i, n in enumerate(NASTY)]
        entries += [{**entry("", size=2000000, order=99, ms=99), "path_escaped": "/sw/bad/\\xff\\xfe</script>\\\\x"}]
        del entries[-1]["path"]
        head = {k: "".join(NASTY) for k in ("host", "cwd", "interpreter")}
        return manifest(*entries, command=NASTY, **head, search=[{"name": n, "value": n} for n in NASTY])

    def test_names_are_text_and_nothing_else(self):
        page = self.page(self.nasty())
        document = self.browse(page)
        root = document.all("html")[0]
        self.assertNotIn("data-owned", root.attributes)
        self.assertEqual([e.tag for e in root.walk() if e.tag in ("img", "iframe", "a", "link")], [])
        self.assertEqual(len(document.all("script")), 2)
        names = [row[0] for row in self.rows(document, "biggest")]
        self.assertEqual(names[0], "/sw/bad/\\xff\\xfe</script>\\x")
        self.assertEqual(names[2], "/sw/<!--<script>/<!--<script>")
        script = "document.querySelector('#biggest button').click()"
        names = [row[0] for row in self.rows(self.browse(self.with_script(page, script)), "biggest")]
        for n, shown in (("a\nb\tc\rd\x1b[31m\x7f", "a\\x0ab\\x09c\\x0dd\\x1b[31m\\x7f"),
                         ("\u202edcba\u200b", "\\u202edcba\\u200b"), ("\u2028\u2029", "\\u2028\\u2029"),
                         ("漢字😀", "漢字😀"), ("@data@@nonce@@page@",) * 2, ("&lt;b&gt;&amp;",) * 2):
            self.assertIn("/sw/%s/%s" % (shown, shown), names, n)
        self.assertIn(NASTY[0], document.id("command").text())

    def test_the_file_is_html(self):
        for name, m in (("small", SMALL), ("nasty", self.nasty())):
            page = self.page(m, name)
            parsed = Document(self.read(page))
            self.assertEqual((parsed.wrong, parsed.doctype), ([], "DOCTYPE html"))
            ids = [e["id"] for e in parsed.root.walk() if "id" in e.attributes]
            self.assertEqual(sorted(ids), sorted(set(ids)))
            for e in parsed.root.walk():
                self.assertIn(e.attributes.get("aria-labelledby", ids[0]), ids)
            out = self.run_command(["tidy", "-q", "-e", "--warn-proprietary-attributes", "no", page])
            self.assertEqual((out.stdout, out.stderr), ("", ""))
            scripts = [e for e in parsed.root.walk() if e.tag == "script"]
            self.assertEqual(len(scripts), 2)
            self.assertEqual(json.loads(scripts[0].text())["entries"], len(m["entries"]))
            self.assertNotIn("<", scripts[0].text())
            self.assertEqual(re.findall(r"https?://[^\"]*", self.read(page)), ["http://www.w3.org/2000/svg"])

    def test_it_asks_nobody(self):
        asked = []

        class Server(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_error(404)

            def log_message(self, *args):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Server)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            at = "http://127.0.0.1:%d/" % server.server_port
            m = self.nasty()
            m["entries"].append(entry("/<img src='%simg'>" % at, size=5))
            m["host"] = "<link rel=stylesheet href='%scss'>" % at
            page = self.page(m)
            self.browse(page)
            self.assertEqual(asked, [])
            # As if HTML had got into it: nothing of it is fetched or run, and it says so; without the policy it is.
            injected = ("<img src='{0}img' alt=''><link rel=stylesheet href='{0}css'><script src='{0}js'></script>"
                        "<script>document.documentElement.dataset.owned = 1; fetch('{0}fetch')</script>").format(at)
            text = self.read(page).replace("<main>", "<main>" + injected)
            document = self.browse(self.write("injected.html", text), clean=False)
            self.assertEqual(asked, [])
            self.assertNotIn("data-owned", document.all("html")[0].attributes)
            free = re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", text)
            document = self.browse(self.write("free.html", free), clean=False)
            self.assertGreaterEqual(set(asked), {"/img", "/css", "/js"})
            self.assertIn("data-owned", document.all("html")[0].attributes)
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class Size(Report):
    def test_six_thousand_paths(self):
        m = manifest(*(entry("%sp%03d/%s%d.py" % (PACKAGES, i // 20, "m" * 40, i), ["module", "absent"][i % 2],
                             None if i % 2 else i, i, i, stat=i) for i in range(6000)))
        self.assertLess(os.path.getsize(self.page(m)), 300000)

    def test_as_large_as_it_gets(self):
        """Long names that need escapes, each its own package, directory and name."""
        def nasty(i):
            name = "<" * 1000 + str(i)
            return entry("/sw/%s/%s" % (name, name), "absent" if i % 2 else "data", None if i % 2 else i, i, i, stat=i)
        paths = [{"name": "P%d" % i, "value": ":".join(["/" + "<" * 1000] * 300)} for i in range(20)]
        page = self.page(manifest(*map(nasty, range(10000)), search=paths, command=["<" * 1000] * 1000))
        self.assertLess(os.path.getsize(page), 5000000)
        document = self.browse(page)
        self.assertIn("5700\xa0more are not shown.".replace("\xa0", " "), document.id("search").text())

class Command(Report):
    def test_where_to(self):
        self.write("app.json", json.dumps(SMALL))
        self.write("plain", json.dumps(SMALL))
        page = self.read(self.page(SMALL))
        out = self.dlcache("report", "-o", "-", self.path("app.json"))
        self.assertEqual((out.stdout, out.stderr), (page, ""))
        for name, made in (("app.json", "app.html"), ("plain", "plain.html")):
            out = self.dlcache("report", self.path(name))
            self.assertEqual((out.stdout, out.stderr, self.read(self.path(made))), ("", "", page))
        with open(self.path("app.json"), "rb") as f:
            subprocess.run([DLCACHE, "report", "-", "-o", self.path("in.html")], stdin=f, env=environment(), check=True,
                           timeout=60)
        self.assertEqual(self.read(self.path("in.html")), page)

    def test_trouble(self):
        good = self.write("m.json", json.dumps(SMALL))
        bad, old = self.write("bad.json", "{\"format\":"), self.write("old.html", "old")
        see = " (see dlcache report --help)\n"
        for args, status, text in (
                ([], 2, "report: it takes one manifest" + see),
                ([good, good], 2, "report: it takes one manifest" + see),
                (["-x", good], 2, "report: '-x' is no option" + see),
                ([good, "-o"], 2, "report: '-o' needs a value" + see),
                (["-"], 2, "report: what comes from standard input needs -o" + see),
                ([good, "-o", good], 2, "report: '%s' is the manifest itself" % good + see),
                ([self.path("none.json")], 2, self.path("none.json") + ": No such file or directory\n"),
                ([good, "-o", "/dev/full"], 1, "/dev/full: No space left on device\n"),
                ([good, "-o", self.path("none/x")], 1, self.path("none/x") + ": No such file or directory\n")):
            with self.subTest(args):
                out = self.dlcache("report", *args, status=status)
                self.assertEqual((out.stdout, out.stderr), ("", "dlcache: " + text))
        out = self.dlcache("report", bad, "-o", old, status=2)
        self.assertRegex(out.stderr, r"\Adlcache: %s:1: not JSON: " % re.escape(bad))
        self.assertEqual(self.read(old), "old")
        self.assertEqual(json.loads(self.read(good)), SMALL)
        self.assertEqual(sorted(os.listdir(self.tmp)), ["bad.json", "m.json", "old.html"])
        self.assertIn("usage: dlcache report", self.dlcache("report", "--help").stdout)
