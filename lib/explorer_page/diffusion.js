// The view of a diffusion model. Timesteps go from 0, the data, to T, the noise: x at k is x_t with t = k - 1 in lib.

function showDiffusion(root, run) {
  const total = run.baralphas.length, state = {
    way: "forward", sampler: "ddpm", steps: Math.min(20, total), count: 1000, seed: 0, k: 0,
    path: [],                                       // of the generation: {k, x, x0}, from k = T down
    drop: null, playing: false};
  const canvas = create("canvas", {class: "plane clicked", tabindex: 0, role: "application", "aria-label":
    "Points in the plane. The arrow keys move one timestep, Enter drops a point at the marked place, " +
    "W, A, S and D move the mark."});
  const plane = new Plane(canvas, [[-3, 3], [-3, 3]], ["first coordinate", "second coordinate"]);
  const chart = create("canvas", {class: "chart", role: "img",
    "aria-label": "The schedule: how much signal and how much noise each timestep has"});
  const schedule = new Plane(chart, [[0, total], [0, 1.05]], ["timestep t", ""]);
  const readout = create("output", {class: "place"});
  const mark = [0, 0];                              // where Enter drops a point
  let noise, data, arrows = {k: null};

  const time = slider("timestep t", {min: 0, max: total, step: 1, value: 0}, value => {
    pause();
    state.k = value;
    redraw();
  });
  const play = button("play", () => state.playing ? pause() : start());
  const ways = [["forward", "forward: data to noise"], ["back", "generation: noise to data"]];
  const way = choice("process", ways, value => {
    state.way = value;
    state.k = value === "forward" ? 0 : total;
    pause();
    restart();
  });
  const sampler = choice("sampler", [["ddpm", "DDPM"], ["ddim", "DDIM"]], value => {
    state.sampler = value;
    restart();
  });
  const steps = slider("steps of DDIM", {min: 1, max: total, step: 1, value: state.steps}, value => {
    state.steps = value;
    restart();
  });
  const count = choice("points", [[500, "500"], [1000, "1,000"], [2000, "2,000"]], value => {
    state.count = Number(value);
    restart();
  });
  count.select.value = state.count;
  const seed = create("input", {type: "number", min: 0, max: 4294967295, step: 1, value: 0, change: () => {
    state.seed = Math.floor(Math.abs(Number(seed.value))) || 0;
    seed.value = state.seed;
    restart();
  }});
  const shown = {
    density: checkbox("true density", true, () => redraw()),
    arrows: checkbox("predicted direction", false, () => redraw())};

  // Draw new noise from the seed, and forget the generation.
  function restart() {
    const random = normal(state.seed);
    data = Float32Array.from({length: 2 * state.count}, (_, i) => run.data[i % run.data.length]);
    noise = normalArray(2 * state.count, random);
    state.path = [{k: total, x: noise, x0: null}];
    state.random = random;
    if (state.drop) state.drop = trace(state.drop.start, state.drop.k);
    steps.root.hidden = state.way === "forward" || state.sampler === "ddpm";
    sampler.root.hidden = state.way === "forward";
    redraw();
  }

  // The timesteps, as k, at which the sampler stops on its way down from k, and 0.
  function stops(k) {
    const all = state.sampler === "ddpm" ? Array.from({length: total}, (_, i) => total - i)
      : usedTimesteps(total, state.steps).map(t => t + 1);
    return [k, ...all.filter(stop => stop < k), 0];
  }

  function step(x, k, random) {
    const next = stops(k)[1];
    const made = state.sampler === "ddpm" ? stepDDPM(run, x, k - 1, random) : stepDDIM(run, x, k - 1, next - 1);
    return {k: next, ...made};
  }

  // The path of one point from timestep k to the data, and the model's guess of x_0 at each stop.
  function trace(start, k) {
    const random = normal(state.seed + 1), path = [{k, x: Float32Array.from(start), x0: null}];
    while (path[path.length - 1].k > 0) {
      const last = path[path.length - 1], next = step(last.x, last.k, random);
      last.x0 = next.x0;
      path.push({k: next.k, x: next.x, x0: next.x});
    }
    return {start, k, path};
  }

  const lacks = k => {
    const last = state.path[state.path.length - 1];
    return last.k > k && stops(last.k)[1] >= k;
  };

  // Where the generation stands at timestep k: at the last stop that is not below it. Computes for one frame's time.
  function generation(k) {
    const end = performance.now() + 20;
    while (lacks(k) && performance.now() < end) {
      const last = state.path[state.path.length - 1], next = step(last.x, last.k, state.random);
      last.x0 = next.x0;
      state.path.push({k: next.k, x: next.x, x0: null});
    }
    if (lacks(k)) redraw();
    return state.path.filter(entry => entry.k >= k).pop();
  }

  function stepBy(direction) {
    const list = state.way === "forward" ? null : stops(total);
    if (!list) state.k = Math.max(0, Math.min(total, state.k + direction));
    else if (direction < 0) state.k = list.find(stop => stop < state.k) ?? 0;
    else state.k = [...list].reverse().find(stop => stop > state.k) ?? total;
    redraw();
  }

  function start() {
    const end = state.way === "forward" ? total : 0;
    if (state.k === end) state.k = total - end;
    state.playing = true;
    play.textContent = "pause";
    readout.setAttribute("aria-live", "off");       // nobody could listen to every step
    let before = 0;
    const tick = now => {
      if (!state.playing) return;
      if (now - before >= (reducedMotion.matches ? 500 : 33)) {
        before = now;
        const some = reducedMotion.matches && (state.way === "forward" || state.sampler === "ddpm") ? 10 : 1;
        for (let k = 0; k < some; k++) stepBy(state.way === "forward" ? 1 : -1);
        if (state.k === end) pause();
      }
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  function pause() {
    state.playing = false;
    play.textContent = "play";
    readout.setAttribute("aria-live", "polite");
  }

  function dropAt(x, y) {
    if (state.way === "forward") {
      way.select.value = state.way = "back";
      restart();
    }
    state.drop = trace([x, y], state.k || total);
    state.k = state.drop.k;
    redraw();
  }

  function drawArrows(k) {
    const side = 21;
    if (arrows.k !== k) {
      const places = [];
      for (let i = 0; i < side * side; i++) {
        places.push(-2.85 + 5.7 * (i % side) / (side - 1), -2.85 + 5.7 * Math.floor(i / side) / (side - 1));
      }
      arrows = {k, places, values: predictNoise(run, Float32Array.from(places), k - 1)};
    }
    const {context} = plane, {places, values} = arrows;
    context.strokeStyle = colorOf("--text");
    context.lineWidth = 1.2;
    context.beginPath();
    for (let i = 0; i < places.length; i += 2) {
      const length = Math.hypot(values[i], values[i + 1]) || 1, size = 0.26 * Math.min(1, length / 2);
      const along = [-values[i] / length * size, -values[i + 1] / length * size];
      const tip = [places[i] + along[0], places[i + 1] + along[1]];
      context.moveTo(...plane.toPixels(places[i], places[i + 1]));
      context.lineTo(...plane.toPixels(...tip));
      for (const turn of [-1, 1]) {
        context.moveTo(...plane.toPixels(...tip));
        context.lineTo(...plane.toPixels(tip[0] - 0.35 * along[0] + turn * 0.2 * along[1],
          tip[1] - 0.35 * along[1] - turn * 0.2 * along[0]));
      }
    }
    context.stroke();
  }

  let densityImage = null;
  function drawDensity() {
    const side = Math.sqrt(run.density.length);
    if (!densityImage) {
      densityImage = new OffscreenCanvas(side, side);
      const context = densityImage.getContext("2d"), image = context.createImageData(side, side);
      for (let i = 0; i < side * side; i++) {
        const row = side - 1 - Math.floor(i / side);
        image.data.set([131, 148, 166, 0.75 * run.density[row * side + i % side]], 4 * i);
      }
      context.putImageData(image, 0, 0);
    }
    const [left, top] = plane.toPixels(-run.range, run.range), [right, bottom] = plane.toPixels(run.range, -run.range);
    plane.context.drawImage(densityImage, left, top, right - left, bottom - top);
  }

  function drawSchedule(k) {
    schedule.resize();
    schedule.drawAxes();
    const curve = value => Array.from({length: total + 1}, (_, k) => [k, value(k ? run.baralphas[k - 1] : 1)]).flat();
    schedule.inside(context => {
      schedule.path([k, 0, k, 1.05], colorOf("--muted"), 1.5);
      schedule.path(curve(Math.sqrt), colorOf("--accent"));
      schedule.path(curve(value => Math.sqrt(1 - value)), colorOf("--second"));
    });
    const value = k ? run.baralphas[k - 1] : 1;
    schedule.spot(k, Math.sqrt(value), colorOf("--accent"));
    schedule.spot(k, Math.sqrt(1 - value), colorOf("--second"));
  }

  function drawDrop() {
    if (!state.drop || state.way === "forward") return;
    const {path} = state.drop, here = path.filter(entry => entry.k >= state.k).pop() || path[0];
    const until = path.indexOf(here) + 1;
    plane.context.globalAlpha = 0.35;
    plane.path(path.flatMap(entry => [...entry.x]), colorOf("--text"), 1.5);
    plane.context.globalAlpha = 1;
    plane.path(path.slice(0, until).flatMap(entry => [...entry.x]), colorOf("--text"), 2);
    plane.points(path.flatMap(entry => [...entry.x0]), colorOf("--second"), 5);
    plane.context.setLineDash([5, 4]);
    plane.path([...here.x, ...here.x0], colorOf("--second"), 1.5);
    plane.context.setLineDash([]);
    plane.spot(...here.x0, colorOf("--second"), "x₀", 5);
    plane.spot(...here.x, colorOf("--text"), "", 6);
  }

  function draw() {
    const {k} = state, entry = state.way === "forward" ? null : generation(k);
    const points = entry ? entry.x : k ? addNoise(run, data, noise, k - 1) : data;
    plane.resize();
    plane.drawAxes();
    plane.inside(context => {
      if (shown.density.input.checked) drawDensity();
      if (shown.arrows.input.checked && k) drawArrows(k);
      plane.points(points, colorOf("--accent"), 3);
      drawDrop();
      if (document.activeElement === canvas && canvas.matches(":focus-visible")) {
        context.lineWidth = 1;
        plane.spot(...mark, "transparent", "+", 8);
      }
    });
    drawSchedule(k);
    time.set(k);
    const signal = Math.sqrt(k ? run.baralphas[k - 1] : 1), spread = Math.sqrt(1 - signal ** 2);
    let wait = "";
    if (entry && entry.k > k) wait = lacks(k) ? ` (computing: at ${entry.k})` : ` (the points: ${entry.k})`;
    readout.textContent =
      `t = ${k} of ${total}${wait}: signal √ᾱ = ${signal.toFixed(2)}, noise √(1 − ᾱ) = ${spread.toFixed(2)}`;
  }

  const redraw = onceAFrame(draw);
  onHand(canvas, () => {}, (x, y) => dropAt(...plane.toData(x, y)));
  onKeys(canvas, (x, y) => {
    pause();
    for (let i = 0; i < Math.abs(x + y); i++) stepBy(Math.sign(x + y));
  }, () => dropAt(...mark));
  canvas.addEventListener("keydown", event => {
    const move = {w: [0, 0.1], s: [0, -0.1], a: [-0.1, 0], d: [0.1, 0]}[event.key.toLowerCase()];
    if (!move || event.altKey || event.ctrlKey || event.metaKey) return;
    mark.forEach((value, axis) => { mark[axis] = Math.max(-2.9, Math.min(2.9, value + move[axis])); });
    redraw();
  });
  for (const name of ["focus", "blur"]) canvas.addEventListener(name, redraw);

  root.replaceChildren(create("div", {class: "split"},
    create("figure", {class: "run"}, create("figcaption", {},
      create("strong", {}, run.name), ` ${run.dataset}, ${epochsOf(run)}`), canvas, readout),
    create("div", {class: "controls"},
      way.root, time.root,
      create("div", {class: "buttons"}, button("◀ to the data", () => (pause(), stepBy(-1))), play,
        button("to the noise ▶", () => (pause(), stepBy(1)))),
      sampler.root, steps.root,
      count.root,
      create("label", {class: "choice"}, create("span", {}, "seed"), seed),
      create("div", {class: "buttons"}, button("new noise", () => {
        seed.value = state.seed += 1;
        restart();
      }), button("remove the dropped point", () => {
        state.drop = null;
        redraw();
      })),
      shown.density.root, shown.arrows.root,
      create("figure", {}, chart, create("figcaption", {class: "key"},
        create("span", {class: "signal"}, "signal √ᾱ"), " ",
        create("span", {class: "noise"}, "noise √(1 − ᾱ)"),
        ` (${run.schedule.replace("_", " ")} schedule)`)))));
  redraws.set(root, draw);
  restart();
  return {state, plane, run, draw, stop: pause};
}
