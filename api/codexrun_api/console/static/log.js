// The log as a window: so many lines are in the page, others are asked for by number as one
// scrolls. The stream only says that there are more; lines come by number, so that a stream that is
// cut loses and doubles none.
(() => {
    "use strict";
    const { $, kept, onTimes, copy } = window.codexrun;
    const log = $("#log");
    if (!log) return;
    const MOST = 2000,
        PIECE = 500,
        NEAR = 600; // lines kept, lines asked for at once, pixels from an end
    const base = `/console/runs/${log.dataset.run}/log`,
        json = log.dataset.raw === "1";
    const follow = $("#log-follow"),
        wrap = $("#log-wrap"),
        showTimes = $("#log-times"),
        src = $("#log-src"),
        regexp = $("#log-regexp");
    let total = Number(log.dataset.total),
        hits = [],
        texts = new Map(),
        hit = -1,
        busy = null,
        again = false,
        put = NaN;
    const first = () => Number(log.firstElementChild?.dataset.n ?? 1);
    const last = () => Number(log.lastElementChild?.dataset.n ?? 0);
    const clean = () => {
        for (const node of [...log.childNodes]) if (node.nodeType !== 1) node.remove();
    };

    async function ask(from, count) {
        const answer = await fetch(
            `${base}/lines?from=${from}&count=${count}${json ? "&raw=true" : ""}`,
            { headers: { "HX-Request": "true" } },
        );
        if (!answer.ok) throw new Error(String(answer.status));
        total = Math.max(total, Number(answer.headers.get("X-Log-Lines")));
        const holder = document.createElement("template");
        holder.innerHTML = await answer.text();
        return [...holder.content.children];
    }
    const shown = () => [...log.children].filter((line) => !src.value || line.checkVisibility());
    function where() {
        const part = src.value ? `, ${shown().length.toLocaleString("en")} of them shown` : "";
        const [from, to, all] = [first(), last(), total].map((n) => n.toLocaleString("en"));
        $("#log-where").textContent = `Lines ${from} to ${to} of ${all}${part}`;
    }
    function placed(lines, before) {
        const known = new Set([...log.children].map((el) => el.id));
        const fresh = lines.filter((el) => !known.has(el.id) || el.dataset.n === String(last()));
        for (const el of fresh)
            if (known.has(el.id)) {
                document.getElementById(el.id).replaceWith(el);
            }
        const added = fresh.filter((el) => !el.isConnected);
        before ? log.prepend(...added) : log.append(...added);
        added.forEach((el) => onTimes(el));
        return added.length;
    }
    function scroll(to) {
        log.scrollTop = to;
        put = log.scrollTop;
    }
    // Keep what is looked at where it is, whatever comes or goes above it.
    function holding(change) {
        const anchor =
            [...log.children].find((el) => el.offsetTop + el.offsetHeight > log.scrollTop) ?? null;
        const at = anchor ? anchor.offsetTop - log.scrollTop : 0;
        change();
        if (anchor?.isConnected) scroll(anchor.offsetTop - at);
    }
    function trim(fromStart) {
        let over = log.children.length - MOST;
        while (over-- > 0) (fromStart ? log.firstElementChild : log.lastElementChild).remove();
    }
    // One request at a time; what is asked for meanwhile is asked for after it.
    async function exclusive(work) {
        if (busy) {
            again = true;
            return busy;
        }
        busy = (async () => {
            try {
                await work();
            } catch {
                /* the next bell or scroll asks again */
            } finally {
                busy = null;
            }
        })();
        await busy;
        if (again) {
            again = false;
            await (follow.checked ? newest() : more());
        }
    }
    async function newest() {
        // lines after the last one; the last one again, for it may not have been whole
        await exclusive(async () => {
            for (;;) {
                const behind = total - last();
                const end = behind > MOST ? await ask(Math.max(1, total - PIECE + 1), PIECE) : null;
                if (end && follow.checked) {
                    log.replaceChildren(...end);
                    onTimes(log);
                }
                const lines = await ask(Math.max(1, last()), PIECE);
                // who has scrolled up meanwhile is not thrown back to the end
                if (!follow.checked) return where();
                placed(lines, false);
                trim(true);
                if (lines.length < PIECE) break;
            }
            scroll(log.scrollHeight);
            where();
            paint();
        });
    }
    async function more() {
        // scrolled near an end that is not the log's
        await exclusive(async () => {
            if (log.scrollTop < NEAR && first() > 1) {
                const from = Math.max(1, first() - PIECE),
                    lines = await ask(from, first() - from);
                holding(() => {
                    placed(lines, true);
                    trim(false);
                });
            } else if (
                log.scrollHeight - log.scrollTop - log.clientHeight < NEAR &&
                last() < total
            ) {
                const lines = await ask(Math.max(1, last()), PIECE);
                holding(() => {
                    placed(lines, false);
                    trim(true);
                });
            }
            where();
            paint();
        });
    }
    async function jump(number, url) {
        number = Math.max(1, Math.min(number, total));
        follow.checked = false;
        if (!document.getElementById("L" + number)) {
            if (busy) await busy;
            const lines = await ask(Math.max(1, number - PIECE / 2), PIECE);
            log.replaceChildren(...lines);
            onTimes(log);
        }
        const line = document.getElementById("L" + number);
        log.querySelectorAll(".at").forEach((el) => el.classList.remove("at"));
        if (line) {
            line.classList.add("at");
            scroll(line.offsetTop - log.clientHeight / 3);
        }
        if (url) history.replaceState(null, "", url);
        where();
        paint();
    }
    // Search: the server knows all lines, the page marks those that it has.
    const box = $("#log-q"),
        said = $("#log-hits"),
        previous = $("#log-prev"),
        next = $("#log-next");
    function here(number) {
        const url = new URL(location.href);
        url.searchParams.set("tab", "log");
        if (box.value) url.searchParams.set("q", box.value);
        else url.searchParams.delete("q");
        if (box.value && regexp.checked) url.searchParams.set("regexp", "1");
        else url.searchParams.delete("regexp");
        if (number) url.searchParams.set("line", number);
        else url.searchParams.delete("line");
        url.hash = number ? "L" + number : "";
        return url.href;
    }
    async function search() {
        hits = [];
        texts.clear();
        hit = -1;
        paint();
        buttons();
        said.classList.remove("err");
        said.textContent = box.value ? "searching…" : "";
        if (!box.value) return;
        const wanted = box.value,
            pattern = regexp.checked;
        const answer = await fetch(
            `${base}/matches?q=${encodeURIComponent(wanted)}${pattern ? "&regexp=true" : ""}`,
            { headers: { "HX-Request": "true" } },
        );
        if (wanted !== box.value || pattern !== regexp.checked) return; // another search has begun
        if (!answer.ok) {
            said.textContent = "the search failed; try again";
            return;
        }
        const found = await answer.json();
        hits = found.lines;
        hits.forEach((number, n) => texts.set(String(number), found.texts[n]));
        said.textContent = found.said;
        said.classList.toggle("err", found.error);
        if (hits.length) await step(0);
        else buttons();
    }
    async function step(by) {
        if (!hits.length) return;
        if (by === 0) {
            const from = first();
            hit = hits.findIndex((n) => n >= from);
            if (hit < 0) hit = 0;
        } else hit = (hit + by + hits.length) % hits.length;
        await jump(hits[hit], here(hits[hit]));
        await reveal(hits[hit]);
        buttons();
    }
    // A match in the part of a line that is not shown: the line is shown whole, and scrolled to it.
    async function reveal(number) {
        const line = document.getElementById("L" + number);
        const text = regexp.checked ? (texts.get(String(number)) ?? [])[0] : box.value;
        if (!line?.querySelector("a.cut") || !text) return;
        const has = (el) => el.textContent.toLowerCase().includes(text.toLowerCase());
        if (has(line)) return;
        const whole = await expand(line);
        paint();
        const marks = CSS.highlights?.get("found");
        const mark = marks && [...marks].find((range) => whole.contains(range.startContainer));
        if (mark) {
            const top = mark.getBoundingClientRect().top - log.getBoundingClientRect().top;
            scroll(log.scrollTop + top - log.clientHeight / 3);
        }
    }
    function buttons() {
        for (const el of [previous, next]) {
            el.classList.toggle("off", !hits.length);
            el.removeAttribute("href");
            el.setAttribute("role", "button");
            el.ariaDisabled = String(!hits.length);
            el.tabIndex = hits.length ? 0 : -1;
        }
    }
    function paint() {
        if (!CSS.highlights) return;
        CSS.highlights.delete("found");
        if (!box.value) return;
        const marks = new Highlight(),
            plain = regexp.checked ? null : [box.value];
        for (const line of log.children) {
            // of a pattern the server says what it matched
            const wanted = plain ?? texts.get(line.dataset.n);
            if (wanted)
                for (const text of wanted)
                    mark(line, text, plain ? (data) => data.toLowerCase() : (data) => data, marks);
        }
        CSS.highlights.set("found", marks);
    }
    function mark(line, text, fold, marks) {
        const wanted = fold(text),
            walker = document.createTreeWalker(line.querySelector(".t"), NodeFilter.SHOW_TEXT);
        for (let node; (node = walker.nextNode());) {
            const data = fold(node.data);
            // some letters are longer in the other case
            if (data.length !== node.data.length) continue;
            for (
                let at = data.indexOf(wanted);
                at >= 0;
                at = data.indexOf(wanted, at + wanted.length)
            ) {
                const range = new Range();
                range.setStart(node, at);
                range.setEnd(node, at + wanted.length);
                marks.add(range);
            }
        }
    }
    log.addEventListener(
        "scroll",
        () => {
            if (Math.abs(log.scrollTop - put) < 2) return; // that was the script, not the reader
            put = NaN;
            const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 30;
            if (follow.checked && !atEnd) follow.checked = false; // who scrolls up wants to read
            if (
                (log.scrollTop < NEAR && first() > 1) ||
                (log.scrollHeight - log.scrollTop - log.clientHeight < NEAR && last() < total)
            )
                more();
        },
        { passive: true },
    );
    // A long line is cut at first; all of it takes its place, once somebody asks for it.
    async function expand(line) {
        const answer = await fetch(
            `${base}/lines?from=${line.dataset.n}&whole=true${json ? "&raw=true" : ""}`,
            { headers: { "HX-Request": "true" } },
        );
        if (!answer.ok) return line;
        const holder = document.createElement("template");
        holder.innerHTML = await answer.text();
        const whole = holder.content.firstElementChild;
        if (!whole) return line;
        // what even this is too long for is in the raw log
        whole.querySelector("a.cut")?.setAttribute("href", `${base}/raw`);
        whole.className = line.className;
        line.replaceWith(whole);
        onTimes(whole);
        return whole;
    }
    log.addEventListener("click", (event) => {
        const cut = event.target.closest("a.cut");
        if (cut && !cut.pathname.endsWith("/raw")) {
            event.preventDefault();
            expand(cut.closest(".l")).then(paint, () => {});
            return;
        }
        const number = event.target.closest("a.no");
        if (!number || event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        jump(Number(number.textContent), here(Number(number.textContent)));
    });
    follow.addEventListener("change", () => {
        if (follow.checked) newest();
    });
    wrap.addEventListener("change", () => {
        log.classList.toggle("wrap", wrap.checked);
        kept.set("wrap", wrap.checked ? "1" : "0");
    });
    showTimes.addEventListener("change", () => {
        log.classList.toggle("notimes", !showTimes.checked);
        kept.set("logtimes", showTimes.checked ? "1" : "0");
    });
    src.addEventListener("change", () => {
        log.dataset.src = src.value;
        where();
        more();
    });
    regexp.addEventListener("change", () => {
        if (box.value) search();
    });
    $("#log-copy").addEventListener("click", () => {
        const lines = shown().map((line) =>
            [
                line.querySelector("time").textContent,
                line.dataset.src,
                line.querySelector(".t").innerText,
            ]
                .filter(Boolean)
                .join("  "),
        );
        copy(
            lines.join("\n") + "\n",
            lines.length.toLocaleString("en") +
                (lines.length === 1 ? " line copied" : " lines copied"),
        );
    });
    $("#log-start").addEventListener("click", () => jump(1, here(1)));
    $("#log-end").addEventListener("click", () => {
        follow.checked = true;
        newest();
    });
    $("#log-full").addEventListener("click", () => {
        document.fullscreenElement ? document.exitFullscreen() : $("#logtab").requestFullscreen();
    });
    for (const [el, by] of [
        [previous, -1],
        [next, 1],
    ]) {
        el.addEventListener("click", (event) => {
            event.preventDefault();
            step(by);
        });
        el.addEventListener("keydown", (event) => {
            if (event.key === "Enter" || event.key === " ") {
                event.preventDefault();
                step(by);
            }
        });
    }
    box.form.addEventListener("submit", (event) => {
        event.preventDefault();
        search();
    });
    box.addEventListener("search", () => {
        if (!box.value) search();
    });
    $("#bell")?.addEventListener("log", () => {
        if (follow.checked) newest();
        else ask(last() + 1, 1).then(where, () => {});
    });
    addEventListener("hashchange", () => {
        const found = /^#L(\d+)$/.exec(location.hash);
        if (found) jump(Number(found[1]));
    });

    clean();
    wrap.checked = kept.get("wrap", "1") === "1";
    wrap.dispatchEvent(new Event("change"));
    showTimes.checked = kept.get("logtimes", "1") === "1";
    showTimes.dispatchEvent(new Event("change"));
    buttons();
    const wanted = /^#L(\d+)$/.exec(location.hash);
    if (wanted) jump(Number(wanted[1]));
    else if (log.dataset.wanted) jump(Number(log.dataset.wanted));
    else scroll(log.scrollHeight);
    if (box.value) search();
})();
