// The view of the VAEs.

// Show the runs that were trained on one dataset. images: N*784 bytes, labels: N.
function showVAE(root, runs, {images, labels}, colors) {
  const count = labels.length, pictureOf = index => Float32Array.from(
    images.subarray(784 * index, 784 * (index + 1)), value => value / 255);
  const picks = [null, null], pen = {x: 14, y: 14}, ink = new Float32Array(784);
  const views = runs.map((run, number) => makeView(run, number));
  const picker = pickerOf("pick-digit", ["image A", "image B"]);
  const pickCanvases = ["A", "B"].map(name => imageCanvas(28, `image ${name}`));
  const box = create("canvas", {class: "box", width: 28, height: 28, tabindex: 0, role: "application",
    "aria-label": "Box to draw a digit in. The arrow keys move the pen, the space bar draws a dot."});

  // One run: its latent space, the cursor in it, and the image that is decoded there.
  function makeView(run, number) {
    const latents = run.latent_size, view = {run, z: new Float32Array(latents), sigma: null};
    const at = index => run.mu.slice(index * latents, (index + 1) * latents);
    const sigmaAt = index => run.logvar.slice(index * latents, (index + 1) * latents).map(v => Math.sqrt(Math.exp(v)));
    Object.assign(view, {at, sigmaAt});
    view.image = imageCanvas(28, `decoded by ${run.name}`);
    view.drawn = imageCanvas(28, `your digit, reconstructed by ${run.name}`);
    view.strip = imageCanvas(28, `from A to B, by ${run.name}`, 10);
    view.output = create("output", {class: "place"});
    const weight = `KL weight ${run.kl_loss_weight}`;
    const isUnique = runs.filter(other => other.kl_loss_weight === run.kl_loss_weight).length === 1;
    view.title = isUnique ? weight : run.name;
    const parts = [create("figcaption", {}, create("strong", {}, view.title),
      ` ${isUnique ? run.name : weight}, ${epochsOf(run)}`)];
    if (latents === 2) {
      const wide = [0, 1].map(axis => 0.08 * (run.high[axis] - run.low[axis]) || 1);
      const canvas = create("canvas", {class: "plane", tabindex: 0, role: "application", "aria-label":
        `Latent space of ${run.name}. The arrow keys move the cursor, Enter picks the nearest image.`});
      view.plane = new Plane(canvas, [0, 1].map(axis => [run.low[axis] - wide[axis], run.high[axis] + wide[axis]]),
        ["latent 0", "latent 1"]);
      onHand(canvas, (x, y) => moveAll(view, view.plane.toData(x, y)), (x, y) => {
        const index = nearest(view, x, y, 10);
        if (index === null) moveAll(view, view.plane.toData(x, y));
        else pick(index);
      });
      onKeys(canvas, (x, y) => moveAll(view, [x, y].map((step, axis) => {
        const [low, high] = view.plane.range[axis];
        return Math.min(high, Math.max(low, view.z[axis] + step * (high - low) / 100));
      })), () => pick(nearest(view, ...view.plane.toPixels(...view.z), Infinity)));
      parts.push(canvas);
    } else {
      view.sliders = Array.from(view.z, (_, axis) => slider(`latent ${axis}`, {
        min: Math.min(-3, run.low[axis]), max: Math.max(3, run.high[axis]), step: 0.01, value: 0,
        show: value => value.toFixed(2)}, value => {
        view.z[axis] = value;
        view.sigma = null;                          // of the image that was there before
        view.sliders.forEach((one, other) => one.set(view.z[other]));
        redraw();
      }));
      parts.push(create("div", {class: "latents"}, ...view.sliders.map(one => one.root)));
    }
    view.root = create("figure", {class: "run"}, ...parts,
      create("div", {class: "decoded"}, view.image, view.output));
    return view;
  }

  // Move the cursor of every plane to the same share of its axes; each run has its own units.
  function moveAll(from, place) {
    const shares = place.map((value, axis) => {
      const [low, high] = from.plane.range[axis];
      return (value - low) / (high - low);
    });
    for (const view of views.filter(view => view.plane)) {
      view.plane.range.forEach(([low, high], axis) => { view.z[axis] = low + shares[axis] * (high - low); });
      view.sigma = null;
    }
    redraw();
  }

  function set(view, mu, sigma) {
    view.z.set(mu);
    view.sigma = sigma;
    (view.sliders || []).forEach((one, axis) =>
      one.set(mu[axis], `${mu[axis].toFixed(2)} ± ${sigma[axis].toFixed(2)}`));
  }

  function nearest(view, x, y, within) {
    let best = null, least = within;
    for (let index = 0; index < count; index++) {
      const [left, top] = view.plane.toPixels(view.run.mu[2 * index], view.run.mu[2 * index + 1]);
      const distance = Math.hypot(left - x, top - y);
      if (distance < least) [best, least] = [index, distance];
    }
    return best;
  }

  // Pick a test image as A or B, and move every cursor to where its run encodes it.
  function pick(index, which = picker.current()) {
    picks[which] = index;
    picker.picked(which);
    showImage(pickCanvases[which], pictureOf(index), 28, [0, 1]);
    pickCanvases[which].setAttribute("aria-label", `image ${"AB"[which]}, a ${labels[index]}`);
    for (const view of views) set(view, view.at(index), view.sigmaAt(index));
    drawStrips();
    redraw();
  }

  function drawStrips() {
    if (picks.includes(null)) return;
    for (const view of views) {
      const [a, b] = picks.map(view.at);
      for (let k = 0; k < 10; k++) {
        const z = a.map((value, axis) => value + k / 9 * (b[axis] - value));
        showImage(view.strip, decode(view.run, z), 28, [0, 1], 1, 28 * k);
      }
    }
  }

  // Draw with a round brush, about as wide as the strokes of the dataset.
  function paint(x, y) {
    for (let row = 0; row < 28; row++) {
      for (let column = 0; column < 28; column++) {
        const distance = Math.hypot(column + 0.5 - x, row + 0.5 - y);
        const value = Math.min(1, Math.max(0, 1.9 - distance));
        ink[28 * row + column] = Math.max(ink[28 * row + column], value);
      }
    }
  }

  function encodeInk() {
    for (const view of views) {
      const {mu, logvar} = encode(view.run, ink);
      set(view, mu, logvar.map(value => Math.sqrt(Math.exp(value))));
      showImage(view.drawn, decode(view.run, mu), 28, [0, 1]);
    }
    redraw();
  }

  function drawInk() {
    showImage(box, ink, 28, [0, 1]);
    if (document.activeElement === box && box.matches(":focus-visible")) {
      const context = box.getContext("2d");
      context.strokeStyle = "#ffa90e";
      context.strokeRect(Math.floor(pen.x) - 0.5, Math.floor(pen.y) - 0.5, 2, 2);
    }
  }

  function drawPlane(view) {
    const {plane, run} = view;
    if (!view.background || view.background.width !== plane.canvas.width) {
      plane.resize();                               // the points are drawn once, the rest again with every move
      plane.drawAxes();
      plane.inside(() => {
        plane.context.globalAlpha = 0.7;
        for (let index = 0; index < count; index++) {
          plane.points(run.mu.subarray(2 * index, 2 * index + 2), colors[labels[index]], count > 1000 ? 3 : 5);
        }
        plane.context.globalAlpha = 1;
        for (let digit = 0; digit < 10; digit++) {
          const own = Array.from(labels.keys()).filter(index => labels[index] === digit);
          const mean = [0, 1].map(axis => own.reduce((sum, index) => sum + run.mu[2 * index + axis], 0) / own.length);
          if (own.length) plane.letter(...mean, String(digit), colorOf("--text"));
        }
      });
      view.background = new OffscreenCanvas(plane.canvas.width, plane.canvas.height);
      view.background.getContext("2d").drawImage(plane.canvas, 0, 0);
    }
    const {context} = plane;
    context.clearRect(0, 0, plane.width, plane.height);
    context.drawImage(view.background, 0, 0, plane.width, plane.height);
    plane.inside(() => {
      const places = picks.map(index => index === null ? null : view.at(index));
      if (places[0] && places[1]) plane.path([...places[0], ...places[1]], colorOf("--text"));
      places.forEach((place, which) => {
        if (!place) return;
        plane.ellipse(place, view.sigmaAt(picks[which]), colorOf("--text"));
        plane.spot(...place, colors[labels[picks[which]]], "AB"[which]);
      });
      if (view.sigma) plane.ellipse(view.z, view.sigma, colorOf("--accent"));
      plane.ring(...view.z, colorOf("--accent"));
    });
  }

  function draw() {
    for (const view of views) {
      if (view.plane) drawPlane(view);
      showImage(view.image, decode(view.run, view.z), 28, [0, 1]);
      const numbers = values => Array.from(values, value => shortNumber(value)).join(", ");
      view.output.textContent = view.plane
        ? `z = (${numbers(view.z)})` + (view.sigma ? `, σ = (${numbers(view.sigma)})` : "") : "";
    }
    drawInk();
  }

  const redraw = onceAFrame(draw);
  redraws.set(root, () => {
    views.forEach(view => { view.background = null; });
    draw();
  });

  let last = null;
  const inBox = event => {
    const frame = box.getBoundingClientRect();
    return [28 * (event.clientX - frame.left) / frame.width, 28 * (event.clientY - frame.top) / frame.height];
  };
  const stroke = event => {
    const [x, y] = inBox(event), steps = Math.ceil(2 * Math.hypot(x - last[0], y - last[1])) || 1;
    for (let k = 1; k <= steps; k++) paint(last[0] + k / steps * (x - last[0]), last[1] + k / steps * (y - last[1]));
    last = [x, y];
    encodeInk();
  };
  box.addEventListener("pointerdown", event => {
    if (event.button || !event.isPrimary) return;   // a second finger, for example
    box.setPointerCapture(event.pointerId);
    box.focus({preventScroll: true});
    last = inBox(event);
    stroke(event);
    event.preventDefault();
  });
  box.addEventListener("pointermove", event => {
    if (!last || !event.isPrimary) return;
    (event.getCoalescedEvents ? [...event.getCoalescedEvents(), event] : [event]).forEach(stroke);
  });
  for (const name of ["pointerup", "pointercancel"]) box.addEventListener(name, () => { last = null; });
  for (const name of ["focus", "blur"]) box.addEventListener(name, redraw);
  onKeys(box, (x, y) => {
    pen.x = Math.min(27.5, Math.max(0.5, pen.x + Math.sign(x)));
    pen.y = Math.min(27.5, Math.max(0.5, pen.y - Math.sign(y)));
    if (Math.abs(x + y) > 1) {                      // with Shift, the pen draws as it moves
      paint(pen.x, pen.y);
      encodeInk();
    }
    redraw();
  }, () => {
    paint(pen.x, pen.y);
    encodeInk();
  });

  const another = which => button(`another ${"AB"[which]}`, () => pick(Math.floor(Math.random() * count), which));
  const hasPlane = views.some(view => view.plane);
  const rows = key => views.map(view => create("div", {class: "row"}, create("span", {class: "label"}, view.title),
    view[key]));
  root.replaceChildren(
    create("div", {class: "legend"}, "class ", ...colors.map((color, digit) => {
      const chip = create("span", {class: "chip"}, String(digit));
      chip.style.borderColor = color;
      return chip;
    })),
    create("div", {class: "runs"}, ...views.map(view => view.root)),
    create("div", {class: "tools"},
      create("section", {class: "tool"}, create("h3", {}, "Draw a digit"),
        create("p", {}, "Draw large and in the middle. Every model encodes your digit as you draw: ",
          hasPlane ? "the ellipse is its σ, and the images on the right " : "the images on the right ",
          "are its reconstructions. With the keyboard: arrows move, space draws a dot, Shift and an arrow draw a ",
          "line."),
        create("div", {class: "drawing"}, box, create("div", {class: "rows"}, ...rows("drawn"))),
        button("clear", () => {
          ink.fill(0);
          for (const view of views) showImage(view.drawn, ink, 28, [0, 1]);
          redraw();
        })),
      create("section", {class: "tool"}, create("h3", {}, "From one image to another"),
        create("p", {}, hasPlane ? "Click on two points of a plane, or take images at random." : "Take two at random.",
          " Below: the straight line between their means, decoded in ten steps."),
        create("div", {class: "drawing"}, hasPlane ? picker.root : "", ...[0, 1].map(
          which => create("div", {class: "picked"}, pickCanvases[which], another(which)))),
        create("div", {class: "rows wide"}, ...rows("strip")))));
  const first = digit => Math.max(0, labels.indexOf(digit));
  pick(first(3), 0);
  pick(first(7), 1);
  picker.picked(1);
  return {views, picks, ink, draw};
}
