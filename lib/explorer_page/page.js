// Fill the page with the runs.

const explorer = {};                                // what the views are doing, for those who look under the bonnet

function fill(kind, runs, show, nameOf) {
  const root = document.querySelector(`#${kind} .view`);
  if (!runs.length) return;
  root.textContent = "";
  const view = create("div"), act = number => {
    explorer[kind]?.stop?.();
    explorer[kind] = show(view, runs[number]);
  };
  if (runs.length > 1) {
    root.append(choice("run", runs.map((run, number) => [number, nameOf(run)]), value => act(Number(value))).root);
  }
  root.append(view);
  act(0);
}

async function main() {
  const runs = explorer.runs = await readRuns();
  runs.vae.sort((one, other) => one.kl_loss_weight - other.kl_loss_weight);
  const sets = Object.keys(runs.digits).map(name => ({name, runs: runs.vae.filter(run => run.dataset === name)}));
  fill("vae", sets, (view, set) => showVAE(view, set.runs, runs.digits[set.name], runs.colors),
    set => `trained on ${set.name}`);
  fill("diffusion", runs.diffusion, showDiffusion, run => `${run.name} (${run.dataset})`);
  fill("gan", runs.gan, showGAN, run => run.name);
  document.documentElement.dataset.ready = Math.round(performance.now());
}

main().catch(error => {
  document.getElementById("problem").textContent =
    `This page cannot be shown (${error.message}). It needs a browser of 2023 or later.`;
  document.getElementById("problem").hidden = false;
});
