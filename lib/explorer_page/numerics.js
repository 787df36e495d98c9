// The numerics of the three models: plain loops over typed arrays. Each function says which part of lib it mirrors.
// A layer is {weight, bias, shape}; images and points are Float32Arrays, row by row.
"use strict";

// torch.nn.Linear for n inputs: n*inputs -> n*outputs. Four inputs and two outputs at a time share what is read; if the
// number of outputs is odd, the last one is computed twice.
function linear(layer, x, n = 1) {
  const {weight, bias, shape: [outputs, inputs]} = layer;
  const y = new Float32Array(n * outputs);
  let k = 0;
  for (; k + 4 <= n; k += 4) {
    const x0 = k * inputs, x1 = x0 + inputs, x2 = x1 + inputs, x3 = x2 + inputs;
    for (let o = 0; o < outputs; o += 2) {
      const next = Math.min(o + 1, outputs - 1), wa = o * inputs, wb = next * inputs;
      let a0 = bias[o], a1 = a0, a2 = a0, a3 = a0, b0 = bias[next], b1 = b0, b2 = b0, b3 = b0;
      for (let i = 0; i < inputs; i++) {
        const a = weight[wa + i], b = weight[wb + i];
        const value0 = x[x0 + i], value1 = x[x1 + i], value2 = x[x2 + i], value3 = x[x3 + i];
        a0 += a * value0;
        a1 += a * value1;
        a2 += a * value2;
        a3 += a * value3;
        b0 += b * value0;
        b1 += b * value1;
        b2 += b * value2;
        b3 += b * value3;
      }
      [a0, a1, a2, a3].forEach((sum, j) => { y[(k + j) * outputs + o] = sum; });
      [b0, b1, b2, b3].forEach((sum, j) => { y[(k + j) * outputs + next] = sum; });
    }
  }
  for (; k < n; k++) {
    for (let o = 0, w = 0; o < outputs; o++) {
      let sum = bias[o];
      for (let i = 0; i < inputs; i++, w++) sum += weight[w] * x[k * inputs + i];
      y[k * outputs + o] = sum;
    }
  }
  return y;
}

// The activations change their input. sigmoid, relu and silu are those of torch.
function relu(x) {
  for (let i = 0; i < x.length; i++) if (x[i] < 0) x[i] = 0;
  return x;
}

function sigmoid(x) {
  for (let i = 0; i < x.length; i++) x[i] = 1 / (1 + Math.exp(-x[i]));
  return x;
}

// Most of the time of a diffusion step would go into Math.exp, so silu interpolates a table (to within 1e-6).
const TABLE = Float64Array.from({length: 32 * 256 + 1}, (_, i) => (i / 256 - 16) / (1 + Math.exp(16 - i / 256)));
function silu(x) {
  for (let i = 0; i < x.length; i++) {
    const place = (x[i] + 16) * 256, k = Math.floor(place);
    if (k < 0) x[i] = 0;
    else if (k < TABLE.length - 1) x[i] = TABLE[k] + (place - k) * (TABLE[k + 1] - TABLE[k]);
  }
  return x;
}

function tanh(x) {
  for (let i = 0; i < x.length; i++) x[i] = Math.tanh(x[i]);
  return x;
}

// VAE.encode in lib/model_vae.py: an image of 784 pixels in [0, 1] -> {mu, logvar}.
function encode(vae, image) {
  const hidden = relu(linear(vae.layers.encoder_hidden, image));
  return {mu: linear(vae.layers.encoder_mu, hidden), logvar: linear(vae.layers.encoder_logvar, hidden)};
}

// VAE.decode in lib/model_vae.py: latents -> an image of 784 pixels in [0, 1].
function decode(vae, z) {
  return sigmoid(linear(vae.layers.decoder_output, relu(linear(vae.layers.decoder_hidden, z))));
}

// SimpleDiffusion.forward in lib/model_diffusion.py: 2n coordinates, all at timestep t (from 0) -> 2n noise.
function predictNoise(model, points, t) {
  const n = points.length / 2, steps = model.baralphas.length, time = [];
  if (model.time_embedding === "sinusoidal") {
    for (const wave of [Math.sin, Math.cos]) {
      for (let k = 0; k < 4; k++) time.push(wave(t / steps * Math.PI / 2 * 2 ** k));
    }
  } else {
    time.push(t);
  }
  const frequencies = model.point_embedding === "sinusoidal" ? [1, 2, 4] : [];
  const width = 2 + 4 * frequencies.length + time.length;
  let x = new Float32Array(n * width);
  for (let k = 0; k < n; k++) {
    const row = [points[2 * k], points[2 * k + 1]];
    for (const wave of [Math.sin, Math.cos]) {
      for (let axis = 0; axis < 2; axis++) for (const f of frequencies) row.push(wave(f * row[axis]));
    }
    x.set(row, k * width);
    x.set(time, k * width + row.length);
  }
  const activation = model.activation === "silu" ? silu : relu;
  model.layers.forEach((layer, number) => {
    x = linear(layer, x, n);
    if (number > 0 && number < model.layers.length - 1) activation(x);
  });
  return x;
}

// add_noise in lib/utils.py, with given noise: x_t from x_0.
function addNoise(model, data, noise, t) {
  const signal = Math.sqrt(model.baralphas[t]), spread = Math.sqrt(1 - model.baralphas[t]);
  return data.map((value, i) => signal * value + spread * noise[i]);
}

// _predict_x0 in lib/sample_diffusion.py.
function predictX0(model, x, t) {
  const signal = Math.sqrt(model.baralphas[t]), spread = Math.sqrt(1 - model.baralphas[t]);
  const eps = predictNoise(model, x, t);
  return x.map((value, i) => Math.max(-model.clip, Math.min(model.clip, (value - spread * eps[i]) / signal)));
}

// One step of sample_ddpm in lib/sample_diffusion.py, from x_t to the timestep before; `random` draws its noise.
function stepDDPM(model, x, t, random) {
  const {baralphas, alphas, betas} = model, before = t > 0 ? baralphas[t - 1] : 1;
  const weightX0 = Math.sqrt(before) * betas[t] / (1 - baralphas[t]);
  const weightX = Math.sqrt(alphas[t]) * (1 - before) / (1 - baralphas[t]);
  const sigma = t > 0 ? Math.sqrt(betas[t]) : 0, x0 = predictX0(model, x, t);
  return {x0, x: x.map((value, i) => weightX0 * x0[i] + weightX * value + (sigma ? sigma * random() : 0))};
}

// One step of sample_ddim in lib/sample_diffusion.py, from x_t to the timestep `next`, or to the data if it is -1.
function stepDDIM(model, x, t, next) {
  const {baralphas} = model, x0 = predictX0(model, x, t);
  if (next < 0) return {x0, x: x0};
  const a = Math.sqrt(baralphas[t]), b = Math.sqrt(1 - baralphas[t]);
  const c = Math.sqrt(baralphas[next]), d = Math.sqrt(1 - baralphas[next]);
  return {x0, x: x.map((value, i) => c * x0[i] + d * (value - a * x0[i]) / b)};
}

// The timesteps that sample_ddim uses: evenly spaced from T - 1 to 0.
function usedTimesteps(total, steps) {
  if (steps === 1) return [total - 1];
  return Array.from({length: steps}, (_, i) => {
    const place = (total - 1) * (steps - 1 - i) / (steps - 1), up = Math.round(place);
    return up - place === 0.5 && up % 2 ? up - 1 : up;      // torch rounds halves to even numbers
  });
}

// torch.nn.ConvTranspose2d with kernel 4, and the batch norm after it: inputs*side*side -> outputs*new*new.
function convTranspose(layer, x, side, stride, padding) {
  const {weight, bias, shape: [inputs, outputs]} = layer, size = (side - 1) * stride - 2 * padding + 4;
  const taps = new Float32Array(16 * outputs), y = new Float32Array(outputs * size * size);
  for (let o = 0; o < outputs; o++) y.fill(bias[o], o * size * size, (o + 1) * size * size);
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      taps.fill(0);                                 // what this pixel adds to 4 by 4 outputs of each channel
      for (let i = 0; i < inputs; i++) {
        const value = x[(i * side + row) * side + column];
        if (value === 0) continue;                  // half of them are, after a ReLU
        const start = i * taps.length;
        for (let k = 0; k < taps.length; k++) taps[k] += value * weight[start + k];
      }
      for (let a = 0; a < 4; a++) {
        const newRow = row * stride - padding + a;
        if (newRow < 0 || newRow >= size) continue;
        for (let b = 0; b < 4; b++) {
          const newColumn = column * stride - padding + b;
          if (newColumn < 0 || newColumn >= size) continue;
          for (let o = 0; o < outputs; o++) y[(o * size + newRow) * size + newColumn] += taps[16 * o + 4 * a + b];
        }
      }
    }
  }
  return y;
}

// torch.nn.Conv2d with kernel 3 and padding 1: inputs*side*side -> outputs*side*side.
function convolution(layer, x, side) {
  const {weight, bias, shape: [outputs, inputs]} = layer, y = new Float32Array(outputs * side * side);
  for (let o = 0; o < outputs; o++) {
    y.fill(bias[o], o * side * side, (o + 1) * side * side);
    for (let i = 0; i < inputs; i++) {
      for (let a = -1; a <= 1; a++) {
        for (let b = -1; b <= 1; b++) {
          const value = weight[(o * inputs + i) * 9 + 3 * (a + 1) + b + 1];
          for (let row = Math.max(0, -a); row < Math.min(side, side - a); row++) {
            const to = (o * side + row) * side, from = (i * side + row + a) * side + b;
            for (let column = Math.max(0, -b); column < Math.min(side, side - b); column++) {
              y[to + column] += value * x[from + column];
            }
          }
        }
      }
    }
  }
  return y;
}

// Generator.forward in lib/model_gan.py, in evaluation mode: noise -> channels*32*32 in [-1, 1].
function generate(generator, noise) {
  const [first, second, third, fourth, last] = generator.layers;
  let x = relu(convTranspose(first, noise, 1, 1, 0));
  x = relu(convTranspose(second, x, 4, 2, 1));
  x = relu(convTranspose(third, x, 8, 2, 1));
  x = relu(convTranspose(fourth, x, 16, 2, 1));
  return tanh(convolution(last, x, 32));
}

// interpolate in lib/sample_gan.py: a point on the arc from one latent to another.
function slerp(here, there, part) {
  let product = 0, length = 0, other = 0;
  for (let i = 0; i < here.length; i++) {
    product += here[i] * there[i];
    length += here[i] ** 2;
    other += there[i] ** 2;
  }
  const cosine = Math.max(-0.99, Math.min(0.99, product / Math.sqrt(length * other || 1)));
  const angle = Math.acos(cosine), a = Math.sin((1 - part) * angle), b = Math.sin(part * angle);
  return here.map((value, i) => (a * value + b * there[i]) / Math.sin(angle));
}

// A source of standard normal numbers: the same seed gives the same numbers (not those of torch).
function normal(seed) {
  let state = seed >>> 0, spare = null;
  const uniform = () => {                           // mulberry32
    state = (state + 0x6D2B79F5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
  return () => {                                    // Box and Muller
    if (spare !== null) {
      const value = spare;
      spare = null;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - uniform())), angle = 2 * Math.PI * uniform();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
}

function normalArray(count, random) {
  return Float32Array.from({length: count}, random);
}
