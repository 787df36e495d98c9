// Controls and canvases that the three views share.

// Create an element. Attributes that are functions become listeners; children are elements or text.
function create(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

// A labelled slider. Returns its root element, the input, and `set`, which changes the value without a call of `act`.
function slider(label, {min, max, step, value, show = String}, act) {
  const output = create("span", {class: "value"});  // not <output>: the label would then belong to that
  const input = create("input", {type: "range", min, max, step, value, input: () => {
    output.textContent = show(Number(input.value));
    act(Number(input.value));
  }});
  const set = (value, text = null) => {
    input.value = value;
    output.textContent = text === null ? show(Number(input.value)) : text;
  };
  set(value);
  return {root: create("label", {class: "slider"}, create("span", {}, label), output, input), input, set};
}

function button(label, act) {
  return create("button", {type: "button", click: act}, label);
}

// A labelled list of options: [value, text] pairs.
function choice(label, options, act) {
  const select = create("select", {change: () => act(select.value)},
    ...options.map(([value, text]) => create("option", {value}, text)));
  return {root: create("label", {class: "choice"}, create("span", {}, label), select), select};
}

function checkbox(label, checked, act) {
  const input = create("input", {type: "checkbox", checked, change: () => act(input.checked)});
  return {root: create("label", {class: "check"}, input, create("span", {}, label)), input};
}

// Two radio buttons that say which image the next click picks. After a pick, the other one is chosen.
function pickerOf(name, labels) {
  const radios = labels.map((label, number) => create("input", {type: "radio", name, checked: number === 0}));
  const root = create("fieldset", {class: "picker"}, create("legend", {}, "A click picks"),
    ...labels.map((label, number) => create("label", {}, radios[number], label)));
  return {root, current: () => radios[0].checked ? 0 : 1,
    picked: number => { radios[1 - number].checked = true; }};
}

// Return a function that calls `draw` once before the next frame, however often it is called.
function onceAFrame(draw) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  };
}

const colorOf = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
const redraws = new Map();                          // of each view, for when the window or the colours change
const redrawAll = onceAFrame(() => redraws.forEach(draw => draw()));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
addEventListener("resize", redrawAll);

// Show an image of side*side pixels on a canvas. range: the values of black and white.
function showImage(canvas, values, side, [low, high], channels = 1, left = 0) {
  const context = canvas.getContext("2d"), image = context.createImageData(side, side), {data} = image;
  for (let i = 0; i < side * side; i++) {
    for (let c = 0; c < 3; c++) {
      data[4 * i + c] = 255 * (values[(channels === 3 ? c : 0) * side * side + i] - low) / (high - low);
    }
    data[4 * i + 3] = 255;
  }
  context.putImageData(image, left, 0);
}

function imageCanvas(side, label, columns = 1) {
  return create("canvas", {class: "image", width: side * columns, height: side, role: "img", "aria-label": label});
}

// A plane with axes on a canvas. `range` is [[left, right], [bottom, top]].
class Plane {
  constructor(canvas, range, names) {
    this.canvas = canvas;
    this.range = range;
    this.names = names;
    this.margin = {left: 34, bottom: 32, right: 14, top: 8};
  }

  // Prepare for drawing: fit the canvas to its place on the screen.
  resize() {
    const {clientWidth, clientHeight} = this.canvas, ratio = devicePixelRatio || 1;
    this.width = clientWidth;
    this.height = clientHeight;
    this.canvas.width = Math.round(clientWidth * ratio);
    this.canvas.height = Math.round(clientHeight * ratio);
    this.context = this.canvas.getContext("2d");
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  get box() {
    const {left, right, top, bottom} = this.margin;
    return [left, top, this.width - left - right, this.height - top - bottom];
  }

  toPixels(x, y) {
    const [left, top, width, height] = this.box, [[x0, x1], [y0, y1]] = this.range;
    return [left + (x - x0) / (x1 - x0) * width, top + (y1 - y) / (y1 - y0) * height];
  }

  toData(left, top) {
    const box = this.box, [[x0, x1], [y0, y1]] = this.range;
    return [x0 + (left - box[0]) / box[2] * (x1 - x0), y1 - (top - box[1]) / box[3] * (y1 - y0)];
  }

  drawAxes() {
    const {context} = this, [left, top, width, height] = this.box;
    context.clearRect(0, 0, this.width, this.height);
    context.fillStyle = colorOf("--plane");
    context.fillRect(left, top, width, height);
    context.strokeStyle = context.fillStyle = colorOf("--muted");
    context.lineWidth = 1;
    context.strokeRect(left + 0.5, top + 0.5, width - 1, height - 1);
    context.font = "11px system-ui, sans-serif";
    for (const axis of [0, 1]) {
      for (const value of niceValues(this.range[axis])) {
        const [x, y] = this.toPixels(axis ? this.range[0][0] : value, axis ? value : this.range[1][0]);
        context.textAlign = axis ? "right" : "center";
        context.textBaseline = axis ? "middle" : "top";
        context.fillText(shortNumber(value), axis ? x - 4 : x, axis ? y : y + 4);
        context.fillRect(axis ? x : x - 0.5, axis ? y - 0.5 : y - 4, axis ? 4 : 1, axis ? 1 : 4);
      }
    }
    context.textAlign = "right";
    context.textBaseline = "top";
    context.fillText(this.names[0], left + width, top + height + 19);
    context.textAlign = "left";
    context.textBaseline = "top";
    context.fillText(this.names[1], left + 6, top + 5);
  }

  // Draw only inside the axes.
  inside(draw) {
    this.context.save();
    this.context.beginPath();
    this.context.rect(...this.box);
    this.context.clip();
    draw(this.context);
    this.context.restore();
  }

  points(data, color, size) {
    this.context.fillStyle = color;
    for (let i = 0; i < data.length; i += 2) {
      const [x, y] = this.toPixels(data[i], data[i + 1]);
      this.context.fillRect(x - size / 2, y - size / 2, size, size);
    }
  }

  path(data, color, width = 2) {
    this.context.strokeStyle = color;
    this.context.lineWidth = width;
    this.context.lineJoin = "round";
    this.context.beginPath();
    for (let i = 0; i < data.length; i += 2) this.context.lineTo(...this.toPixels(data[i], data[i + 1]));
    this.context.stroke();
  }

  // A filled circle with an outline, and an optional letter beside it.
  spot(x, y, color, letter = "", radius = 5) {
    const {context} = this, [left, top] = this.toPixels(x, y);
    context.beginPath();
    context.arc(left, top, radius, 0, 2 * Math.PI);
    context.fillStyle = color;
    context.strokeStyle = colorOf("--plane");
    context.lineWidth = 2;
    context.fill();
    context.stroke();
    if (letter) this.letter(x, y, letter, colorOf("--text"), 9);
  }

  letter(x, y, text, color, shift = 0) {
    const {context} = this, [left, top] = this.toPixels(x, y);
    context.font = "bold 15px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineWidth = 4;
    context.lineJoin = "round";
    context.strokeStyle = colorOf("--plane");
    context.fillStyle = color;
    context.strokeText(text, left + shift, top - shift);
    context.fillText(text, left + shift, top - shift);
  }

  // The ellipse of one standard deviation.
  ellipse(mu, sigma, color) {
    const [x, y] = this.toPixels(...mu), [x1, y1] = this.toPixels(mu[0] + sigma[0], mu[1] + sigma[1]);
    this.outline(x, y, Math.max(1, x1 - x), Math.max(1, y - y1), color);
  }

  // A ring around a place, which does not hide it.
  ring(x, y, color) {
    this.outline(...this.toPixels(x, y), 7, 7, color);
  }

  outline(x, y, width, height, color) {
    const {context} = this;
    context.beginPath();
    context.ellipse(x, y, width, height, 0, 0, 2 * Math.PI);
    context.strokeStyle = colorOf("--plane");
    context.lineWidth = 5;
    context.stroke();
    context.strokeStyle = color;
    context.lineWidth = 2.5;
    context.stroke();
  }
}

// About five round values in a range.
function niceValues([low, high]) {
  const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find(factor => factor * power >= rough * 0.999);
  const values = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) values.push(k * step);
  return values;
}

const epochsOf = run => `${run.epochs.toLocaleString("en")} epoch${run.epochs === 1 ? "" : "s"}`;
const shortNumber = value => String(Number(value.toPrecision(3)));

// Let a hand move over a canvas. move: called with the place while it drags; click: when it has not moved in between.
function onHand(canvas, move, click) {
  let start = null;
  const place = event => {
    const frame = canvas.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  };
  canvas.addEventListener("pointerdown", event => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({preventScroll: true});
    start = place(event);
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", event => {
    if (!start) return;
    const [x, y] = place(event);
    if (start.moved || Math.hypot(x - start[0], y - start[1]) > 4) {
      start.moved = true;
      move(x, y);
    }
  });
  canvas.addEventListener("pointerup", event => {
    if (start && !start.moved) click(...place(event));
    start = null;
  });
  canvas.addEventListener("pointercancel", () => { start = null; });
}

// Let the arrow keys move over a canvas, ten times as far with Shift; Enter and the space bar do what a click does.
function onKeys(canvas, move, click) {
  const steps = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]};
  canvas.addEventListener("keydown", event => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const step = steps[event.key], factor = event.shiftKey ? 10 : 1;
    if (step) move(factor * step[0], factor * step[1]);
    else if (event.key === "Enter" || event.key === " ") click();
    else return;
    event.preventDefault();
  });
}
