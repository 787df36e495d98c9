// The view of a GAN: its generators, by the same noise.

const SAMPLES = 16;

function showGAN(root, run) {
  const names = Object.keys(run.generators), latents = run.latent_size;
  const channels = run.generators[names[0]].layers[4].shape[0];
  const labels = {ema: "EMA", generator: names.length > 1 ? "generator without EMA" : "generator"};
  const state = {shown: names[0], temperature: 1, seed: 0, picks: [null, null], part: 0.5};
  const waiting = new Set();                        // of functions that draw an image
  let noise, isDrawing = false;

  const canvases = Array.from({length: SAMPLES}, (_, k) => imageCanvas(32, `sample ${k + 1}`));
  const buttons = canvases.map((canvas, k) => create("button", {type: "button", class: "sample",
    "aria-label": `pick sample ${k + 1}`, click: () => pick(k)}, canvas));
  const picker = pickerOf("pick-sample", ["first image", "second image"]);
  const large = Object.fromEntries(names.map(name => [name, imageCanvas(32, `picked image, ${labels[name]}`)]));
  const between = imageCanvas(32, "between the first and the second image");
  const strip = imageCanvas(32, "from the first image to the second", 8);
  const latentSliders = Array.from({length: latents}, (_, axis) => slider(`z ${axis}`, {
    min: -4, max: 4, step: 0.01, value: 0, show: value => value.toFixed(2)}, value => {
    state.picks[state.edited].z[axis] = value;
    drawPickedNow();
    drawSoon(...betweenParts);
  }));
  const weights = choice("weights", names.map(name => [name, labels[name]]), value => {
    state.shown = value;
    drawAll();
  });
  const temperature = slider("temperature (variance of the noise)", {
    min: 0, max: 2, step: 0.05, value: 1, show: value => value.toFixed(2)}, value => {
    state.temperature = value;
    drawAll();
  });
  const seed = create("input", {type: "number", min: 0, max: 4294967295, step: 1, value: 0, change: () => {
    state.seed = Math.floor(Math.abs(Number(seed.value))) || 0;
    seed.value = state.seed;
    restart();
  }});
  const place = slider("from the first to the second", {min: 0, max: 1, step: 0.01, value: 0.5,
    show: value => value.toFixed(2)}, value => {
    state.part = value;
    drawBetweenNow();
  });

  const show = (canvas, name, z, left = 0) => showImage(canvas, generate(run.generators[name],
    z.map(value => value * Math.sqrt(state.temperature))), 32, [-1, 1], channels, left);

  function restart() {
    const random = normal(state.seed);
    noise = Array.from({length: SAMPLES}, () => normalArray(latents, random));
    pick(0, 0);
    pick(5, 1);
    state.edited = 0;
    editSliders();
    picker.picked(1);
    drawAll();
  }

  // Draw one image after the other, so that the page stays responsive. What is drawn already and has to be drawn again
  // goes to the end of the queue, so every image gets its turn while a hand moves.
  async function drawSoon(...jobs) {
    for (const job of jobs) waiting.add(job);
    if (isDrawing) return;
    isDrawing = true;
    while (waiting.size) {
      await new Promise(resolve => setTimeout(resolve));
      const [job] = waiting;
      waiting.delete(job);
      job();
    }
    isDrawing = false;
  }

  const drawAll = () => drawSoon(drawPicked, ...samples, ...betweenParts);

  function drawPicked() {
    const picked = state.picks[state.edited ?? 0];
    if (picked) for (const name of names) show(large[name], name, picked.z);
  }

  function drawBetween() {
    show(between, state.shown, slerp(state.picks[0].z, state.picks[1].z, state.part));
  }

  function drawPart(k) {
    show(strip, state.shown, slerp(state.picks[0].z, state.picks[1].z, k / 7), 32 * k);
  }

  const drawPickedNow = onceAFrame(drawPicked), drawBetweenNow = onceAFrame(drawBetween);
  const samples = canvases.map((canvas, k) => () => show(canvas, state.shown, noise[k]));
  const betweenParts = [drawBetween, ...Array.from({length: 8}, (_, k) => () => drawPart(k))];

  function editSliders() {
    const {z} = state.picks[state.edited];
    latentSliders.forEach((one, axis) => one.set(z[axis], z[axis].toFixed(2)));
    editing.textContent = `${["first", "second"][state.edited]} image, sample ${state.picks[state.edited].k + 1}`;
  }

  function pick(k, which = picker.current()) {
    state.picks[which] = {k, z: noise[k].slice()};
    state.edited = which;
    picker.picked(which);
    buttons.forEach((one, number) => {
      const marks = state.picks.flatMap((picked, place) => picked && picked.k === number ? [place + 1] : []);
      one.dataset.mark = marks.join(" ");
      one.setAttribute("aria-pressed", marks.length > 0);
    });
    editSliders();
    drawPicked();
    if (state.picks.every(Boolean)) drawSoon(...betweenParts);
  }

  const editing = create("span");
  const parts = [
    create("section", {class: "tool"}, create("h3", {}, "Samples"),
      create("p", {}, run.epochs ? `${run.name}, ${epochsOf(run)}` : run.name),
      names.length > 1 ? weights.root : "",
      temperature.root,
      create("div", {class: "buttons"}, create("label", {class: "choice"}, create("span", {}, "seed"), seed),
        button("new noise", () => {
          seed.value = state.seed += 1;
          restart();
        })),
      picker.root,
      create("div", {class: "samples"}, ...buttons)),
    create("section", {class: "tool"}, create("h3", {}, "Between two samples"),
      create("p", {}, "Along the sphere from the first picked image to the second."),
      create("div", {class: "rows wide"}, strip), place.root, create("div", {class: "large"}, between)),
    create("section", {class: "tool"}, create("h3", {}, "One sample, latent by latent"),
      create("p", {}, editing, names.length > 1 ? ": the same noise with both generators." : "."),
      create("div", {class: "pair"}, ...names.map(name => create("figure", {}, large[name],
        create("figcaption", {}, labels[name])))),
      create("div", {class: "latents"}, ...latentSliders.map(one => one.root)),
      button("as it was", () => {
        const picked = state.picks[state.edited];
        picked.z = noise[picked.k].slice();
        editSliders();
        drawPicked();
        drawSoon(...betweenParts);
      }))];
  const {steps, side, jpeg} = run.snapshots;
  if (steps.length) {
    const canvas = create("canvas", {class: "image", width: side, height: side, role: "img",
      "aria-label": "images generated from one fixed noise"});
    const picture = new Image();
    let number = steps.length - 1;
    const draw = () => canvas.getContext("2d").drawImage(picture, side * number, 0, side, side, 0, 0, side, side);
    picture.addEventListener("load", draw);
    picture.src = "data:image/jpeg;base64," + btoa(Array.from(jpeg, byte => String.fromCharCode(byte)).join(""));
    const scrubber = slider("training step", {min: 0, max: steps.length - 1, step: 1, value: number,
      show: value => steps[value].toLocaleString("en")}, value => {
      number = value;
      draw();
    });
    parts.push(create("section", {class: "tool"}, create("h3", {}, "The training, by the same noise"),
      create("p", {}, "Move through the snapshots of the training. The noise stays the same; the generator changes."),
      scrubber.root, create("div", {class: "large"}, canvas)));
  } else {
    parts.push(create("p", {class: "missing"}, "This run has no snapshots of its training (generated_######.png)."));
  }
  root.replaceChildren(create("div", {class: "tools"}, ...parts));
  restart();
  return {state, run, canvases, large, isDrawn: () => !isDrawing, stop: () => waiting.clear()};
}
