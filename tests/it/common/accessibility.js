// Returns what keeps people from using the page, as a list of sentences: a selection of the rules of axe-core.
(() => {
  const wrong = [];
  const check = (good, text) => { if (!good) wrong.push(text); };
  const all = selector => [...document.querySelectorAll(selector)];
  const shown = node => node.checkVisibility() && node.getBoundingClientRect().width > 0;
  const name = node => `${node.tagName.toLowerCase()}${node.id ? "#" + node.id : ""} "${node.textContent.trim().slice(0, 30)}"`;

  check(document.documentElement.lang, "the page has no language");
  check(document.title, "the page has no title");
  check(/width=device-width/.test(document.querySelector("meta[name=viewport]")?.content), "the page cannot be small");
  check(!/user-scalable=no|maximum-scale/.test(document.querySelector("meta[name=viewport]")?.content), "the page cannot be enlarged");
  check(all("main").length === 1, "there is not one main part");
  check(all("h1").length === 1, "there is not one heading of the first level");
  const levels = all("h1,h2,h3,h4,h5,h6").map(node => Number(node.tagName[1]));
  check(levels.every((level, i) => i === 0 || level <= levels[i - 1] + 1), `headings skip a level: ${levels}`);
  const ids = all("[id]").map(node => node.id);
  check(new Set(ids).size === ids.length, "two elements have one id");
  all("table").forEach(table => check(table.caption?.textContent, `${name(table)} has no caption`));
  all("th").forEach(head => check(head.scope && head.textContent.trim(), `${name(head)} heads nothing`));
  all("th").filter(head => head.getBoundingClientRect().left >= 0).forEach(head => {
    const text = document.createRange();
    text.selectNodeContents(head);
    check(text.getClientRects().length === 1, `${name(head)} is broken into lines`);
  });
  all("a[href],button").forEach(node => check(node.textContent.trim() || node.ariaLabel, `${name(node)} has no name`));
  all("svg[role=img],img").forEach(node => check(node.ariaLabel || node.alt, "a picture has no text"));
  all("a[href^='#']").forEach(node => check(document.getElementById(node.hash.slice(1)), `${name(node)} leads nowhere`));
  all("[tabindex]").forEach(node => check(node.tabIndex <= 0, `${name(node)} changes the order of the keyboard`));
  all("dt").forEach(node => check(node.nextElementSibling?.tagName === "DD", `${name(node)} has no value`));
  check(document.querySelector("[role=status]"), "no change is announced");
  all("*").filter(node => shown(node) && node.scrollWidth > node.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(node).overflowX))
    .forEach(node => check(node.tabIndex >= 0, `${name(node)} cannot be scrolled by the keyboard`));
  all("button").filter(shown).forEach(node => {
    const { width, height } = node.getBoundingClientRect();
    check(width >= 24 && height >= 24, `${name(node)} is too small to be hit`);
  });

  // The contrast of each text with its background, as in WCAG 2.2, 1.4.3.
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const pixel = colors => {
    canvas.clearRect(0, 0, 1, 1);
    colors.forEach(color => { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); });
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = rgb => {
    const [r, g, b] = rgb.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = "Canvas";
  const page = getComputedStyle(probe).color;
  probe.remove();
  const behind = node => node ? [...behind(node.parentElement), getComputedStyle(node).backgroundColor] : [page];
  const texts = all("body *").filter(node => shown(node) && [...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim()));
  check(texts.length > 20, `only ${texts.length} texts are shown`);
  texts.forEach(node => {
    const back = behind(node), [a, b] = [light(pixel(back)), light(pixel([...back, getComputedStyle(node).color]))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    check(ratio >= 4.5, `${name(node)} has a contrast of ${ratio.toFixed(1)}`);
  });
  all("polyline").forEach(node => {
    const back = behind(node), [a, b] = [light(pixel(back)), light(pixel([...back, getComputedStyle(node).stroke]))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    check(ratio >= 3, `a line has a contrast of ${ratio.toFixed(1)}`);
  });
  return wrong;
})()
