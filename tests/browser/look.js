// What a browser makes of the page: computed colours, places, and what is there to read. Its value is JSON.
(() => {
  document.querySelectorAll('details').forEach((fold) => { fold.open = true; });

  // A computed colour as [red, green, blue, alpha]: 0 to 255, and 0 to 1.
  const colour = (text) => {
    const numbers = text.match(/-?[\d.]+(e-?\d+)?/g).map(Number);
    const [red, green, blue, alpha = 1] = text.startsWith('color(srgb')
      ? [...numbers.slice(0, 3).map((part) => part * 255), ...numbers.slice(3)]
      : numbers;
    if (!/^(rgba?\(|color\(srgb )/.test(text)) throw new Error(`an unknown colour: ${text}`);
    return [red, green, blue, alpha];
  };
  const over = (front, behind) => {
    const mix = (part) => front[part] * front[3] + behind[part] * (1 - front[3]);
    return [mix(0), mix(1), mix(2), 1];
  };
  // What is behind the content of an element. The canvas is white or black.
  const behind = (element) => {
    const dark = matchMedia('(prefers-color-scheme: dark)').matches;
    const layers = [];
    for (let one = element; one; one = one.parentElement) layers.push(colour(getComputedStyle(one).backgroundColor));
    return layers.reverse().reduce((ground, layer) => over(layer, ground), dark ? [0, 0, 0, 1] : [255, 255, 255, 1]);
  };
  // WCAG 2.2.
  const luminance = ([red, green, blue]) => {
    const part = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part(red) + 0.7152 * part(green) + 0.0722 * part(blue);
  };
  const contrast = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const seen = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true })
    && [...element.getClientRects()].some((box) => box.width > 0 && box.height > 0);

  const pale = new Set();
  let texts = 0;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !seen(element)) continue;
    texts += 1;
    const ground = behind(element);
    const found = contrast(over(colour(getComputedStyle(element).color), ground), ground);
    if (found < 4.5) pale.add(`${found.toFixed(2)} of "${node.data.trim().slice(0, 40)}"`);
  }
  // Bars, and the lines of the graph, mean something: 3 to 1.
  let shapes = 0;
  const shape = (element, text, ground) => {
    shapes += 1;
    const found = contrast(over(colour(text), ground), ground);
    if (found < 3) pale.add(`${found.toFixed(2)} of <${element.tagName.toLowerCase()} class="${element.className}">`);
  };
  for (const bar of document.querySelectorAll('.bars i, .legend i')) {
    shape(bar, getComputedStyle(bar).color, behind(bar.parentElement));
  }
  for (const line of document.querySelectorAll('.edges path')) {
    shape(line, getComputedStyle(line).stroke, behind(line.closest('div')));
  }

  const row = (line) => ({
    name: line.querySelector('a').title.split(', after ')[0],
    seen: seen(line.querySelector('a')),
    bars: [...line.querySelectorAll('.bars i')].filter(seen).length,
  });
  const fold = (one) => ({
    name: one.querySelector('summary').firstChild.data.trim(),
    seen: seen(one.querySelector('summary')),
    attempts: [...one.querySelectorAll('h4')].filter(seen).length,
  });
  const run = (section) => ({
    run: section.querySelector('h2 code').textContent,
    rows: [...section.querySelectorAll('.chart li')].map(row),
    folds: [...section.querySelectorAll('details')].filter((one) => one.querySelector('div[id]')).map(fold),
  });
  // The end of a text that does not fit is not shown. A region that can be scrolled shows it.
  const clips = (one) => seen(one) && one.scrollWidth > one.clientWidth && getComputedStyle(one).overflowX === 'hidden';
  const ids = [...document.querySelectorAll('[id]')].map((one) => one.id);
  return {
    pale: [...pale],
    texts,
    shapes,
    clipped: [...document.querySelectorAll('body *:not(.hidden)')].filter(clips).map((one) => one.textContent),
    width: document.documentElement.scrollWidth,
    runs: [...document.querySelectorAll('main > section')].map(run),
    nameless: [...document.querySelectorAll('svg')].filter(
      (one) => one.getAttribute('aria-hidden') !== 'true' && !one.getAttribute('aria-label'),
    ).length,
    twice: ids.filter((id, place) => ids.indexOf(id) !== place),
    nowhere: [...document.querySelectorAll('a[href]')].map((one) => one.getAttribute('href')).filter(
      (href) => !href.startsWith('#') || !ids.includes(href.slice(1)),
    ),
  };
})()
