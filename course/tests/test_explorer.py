"""make_explorer.py and its page, in a real browser: what it computes, and what every control does."""
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import sync_playwright

from benchmarks.explorer import BROWSERS
from course.tests.support import (
    DIFFUSION,
    EXPLORER,
    GAN,
    ROOT,
    TRAIN,
    assert_done,
    assert_one_line,
    environment,
    finish,
    run,
    start,
    write_images,
)
from lib.export_runs import export_gan, export_vae, find_convolutions
from lib.load_gan import load_generator
from lib.load_vae import load_vae
from lib.model_diffusion import SimpleDiffusion
from lib.model_gan import Generator
from lib.sample_diffusion import sample_ddim, sample_ddpm
from lib.sample_gan import generate, interpolate, prepare_generator, sample_noise
from lib.script import UserError
from lib.utils import SCHEDULES

ODD = 'results_odd <b>"it\'s" & €</script>'.replace("/", "") + 100 * "o"     # a slash would begin another folder
TEN_STEPS = [*range(100, 0, -11), 0]                # of DDIM, and the data
CLOSE = 1e-3                                        # of all outputs, on random inputs


@pytest.fixture(scope="module")
def place(tmp_path_factory, small_data):
    """A folder with runs of default and of odd sizes, and their page. Do not change it."""
    cwd = tmp_path_factory.mktemp("explorer")
    write_images(cwd / "images", count=40)
    small = ("--dataset", "mnist", "--data_dir", small_data, "--num_epochs", 2)
    for weight in (0, 1, 30):
        assert_done(run(TRAIN, *small, "--kl_loss_weight", weight, cwd=cwd))
    assert_done(run(TRAIN, *small, "--latent_size", 5, "--hidden_size", 37, "--output_dir", ODD, cwd=cwd))
    assert_done(run(TRAIN, "--dataset", "digits", "--num_epochs", 1, "--hidden_size", 10,
                    "--output_dir", "results_digits", cwd=cwd))
    quick = ("--n_samples", 8192, "--epochs", 3, "--no_video", "--evaluate_every", 3)
    assert_done(run(DIFFUSION, *quick, cwd=cwd))
    assert_done(run(DIFFUSION, *quick, "--n_units", 13, "--n_blocks", 1, "--time_embedding", "index",
                    "--point_embedding", "coordinates", "--activation", "relu", "--schedule", "linear",
                    "--diffusion_steps", 37, "--learning_rate", 1e-3, "--dataset", "swiss_roll",
                    "--output_dir", "results_swiss", cwd=cwd))
    images = ("--data_dir", "images", "--num_epochs", 3, "--ema_steps", 2, "--no_video")
    assert_done(run(GAN, *images, cwd=cwd))
    assert_done(run(GAN, *images, "--plain", "--ngf", 3, "--latent_size", 7, "--no_images",
                    "--output_dir", "results_plain", cwd=cwd))
    (cwd / "results_empty").mkdir()
    done = run(EXPLORER, "--data_dir", small_data, cwd=cwd)
    assert_done(done)
    (cwd / "said.txt").write_text(done.stdout)
    return cwd


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium, of Debian or of this machine. Without one, this fails."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert found, "these tests need a Chromium: apt install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found,
                                             args=["--disable-gpu", "--disable-background-networking"])
        yield browser
        browser.close()


def opened(browser, path, **options):
    """Open a page, and return it with a list of all that it has said to the console and asked for."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    page, events = context.new_page(), []
    page.on("console", lambda message: events.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: events.append(f"error: {error}"))
    page.on("request", lambda request: None if request.url == path.as_uri() or request.url.startswith("data:")
            else events.append(f"request: {request.url}"))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]", timeout=60000)
    page.evaluate("""() => {
        window.picture = selector => Array.from(document.querySelectorAll(selector), one => one.toDataURL()).join(" ");
        window.planes = () => explorer.vae.views.filter(view => view.plane);
    }""")
    return page, events


@pytest.fixture(scope="module")
def shared(browser, place):
    return opened(browser, place / "explorer.html")


@pytest.fixture
def page(shared):
    """The page with all runs; what a test does to it, the next one finds. Nothing may have been said to the console."""
    page, events = shared
    yield page
    settle(page)
    assert events == []


def settle(page):
    """Wait until the page has drawn everything."""
    page.evaluate("""async () => {
        for (let quiet = 0, last = ""; quiet < 3;) {
            await new Promise(done => setTimeout(done, 60));
            const now = picture("canvas");
            quiet = now === last && (!explorer.gan || explorer.gan.isDrawn()) ? quiet + 1 : 0;
            last = now;
        }
    }""")


def wait_until(page, condition):
    """Wait up to a minute for a JavaScript expression. (The page's policy forbids Playwright's own way, eval.)"""
    end = time.monotonic() + 60
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(20)


def choose_run(page, kind, number):
    """Choose a run in a view by its place in the list."""
    page.locator(f"#{kind} .view > .choice select").select_option(str(number))


def in_page(page, expression, **values):
    """Evaluate JavaScript with arrays as Float32Arrays; return an array."""
    arrays = {name: np.asarray(value, dtype=np.float32).ravel().tolist() for name, value in values.items()}
    return np.array(page.evaluate(f"""(values) => {{ for (const k in values) values[k] = Float32Array.from(values[k]);
        return Array.from({expression}); }}""", arrays))


def run_of(kind, name):
    return f"explorer.runs.{kind}.find(run => run.name === {json.dumps(name)})"


def assert_near(got, expected):
    expected = np.asarray(expected, dtype=np.float64).ravel()
    assert got.shape == expected.shape and np.isfinite(got).all()
    assert np.abs(got - expected).max() < CLOSE, np.abs(got - expected).max()


# What it computes

@pytest.mark.parametrize("name", ["results_kl0.0", "results_kl1.0", "results_kl30.0", ODD])
@torch.no_grad()
def test_the_vae_in_the_page_is_that_of_the_run(page, place, name):
    """On 5 random images, and on 100 random latents and 100 anywhere on the axes, which no export has seen."""
    model, _ = load_vae(place / name)
    random, latents = torch.Generator().manual_seed(7), model.latent_size
    for image in torch.rand(5, 1, 1, 28, 28, generator=random):
        mu, logvar = model.encode(image)
        assert_near(in_page(page, f"encode({run_of('vae', name)}, values.x).mu", x=image), mu)
        assert_near(in_page(page, f"encode({run_of('vae', name)}, values.x).logvar", x=image), logvar)
    low, high = torch.tensor(page.evaluate(f"[{run_of('vae', name)}].map(({{low, high}}) => [...low, ...high])[0]")
                             ).view(2, latents)
    z = torch.cat([torch.randn(100, latents, generator=random),
                   low + torch.rand(100, latents, generator=random) * (high - low)])
    code = f"""[].concat(...Array.from({{length: 200}}, (_, k) =>
        Array.from(decode({run_of('vae', name)}, values.z.slice({latents} * k, {latents} * (k + 1))))))"""
    assert_near(in_page(page, code, z=z), model.decode(z))


def load_diffusion(folder):
    checkpoint = torch.load(str(folder / "checkpoint.pt"), weights_only=True)
    of = checkpoint["settings"]
    model = SimpleDiffusion(2, of["n_blocks"], of["n_units"], of["time_embedding"], of["diffusion_steps"],
                            of["point_embedding"], of["activation"])
    model.load_state_dict(checkpoint["ema"])
    return model, SCHEDULES[of["schedule"]](of["diffusion_steps"])


@pytest.mark.parametrize("name", ["results_diffusion", "results_swiss"])
@torch.no_grad()
def test_the_diffusion_model_in_the_page_is_that_of_the_run(page, place, name):
    """Noise predicted for 203 random points at five timesteps; and 50 of them sampled by DDIM and, with the page's own
    noise, by DDPM.
    """
    model, schedule = load_diffusion(place / name)
    steps, here = len(schedule[0]), run_of("diffusion", name)
    x = 1.5 * torch.randn(203, 2, generator=torch.Generator().manual_seed(3))
    for t in (0, 1, steps // 2, steps - 2, steps - 1):
        assert_near(in_page(page, f"predictNoise({here}, values.x, {t})", x=x), model(x, torch.full((203, 1), t)))
    clip = page.evaluate(f"{here}.clip")
    for count in (1, 10, steps):
        code = f"""(() => {{ const run = {here}, used = usedTimesteps(run.baralphas.length, {count});
            used.push(-1);
            return used.slice(0, -1).reduce((x, t, i) => stepDDIM(run, x, t, used[i + 1]).x, values.x); }})()"""
        assert_near(in_page(page, code, x=x[:50]), sample_ddim(model, x[:50], schedule, count, clip))
    noise = in_page(page, f"normalArray({100 * (steps - 1)}, normal(5))").reshape(steps - 1, 50, 2)
    code = f"""(() => {{ const run = {here}, random = normal(5); let x = values.x;
        for (let t = {steps - 1}; t >= 0; t--) x = stepDDPM(run, x, t, random).x; return x; }})()"""
    drawn, original = iter(torch.from_numpy(noise).float()), torch.randn_like
    torch.randn_like = lambda _: next(drawn)
    try:
        expected = sample_ddpm(model, x[:50], schedule, clip)[0]
    finally:
        torch.randn_like = original
    assert_near(in_page(page, code, x=x[:50]), expected)


@pytest.mark.parametrize("name, weights", [("results_gan", "ema"), ("results_gan", "generator"),
                                           ("results_plain", "generator")])
@torch.no_grad()
def test_the_generator_in_the_page_is_that_of_the_run(page, place, name, weights):
    """On noise that the export has not seen, and on the way between two latents."""
    generator = load_generator(place / name / "checkpoint.pt", weights)
    latents = next(generator.parameters()).shape[0]
    generator = prepare_generator(generator, latents)
    here = f"{run_of('gan', name)}.generators.{weights}"
    for noise in sample_noise(5, latents, seed=77).split(1):
        assert_near(in_page(page, f"generate({here}, values.z)", z=noise), generate(generator, noise))
    pair = sample_noise(2, latents, seed=78)
    expected = [batch.flatten() for batch in interpolate(pair.unflatten(0, (2, 1)), 4)][:4]
    for number, between in enumerate(expected):
        got = in_page(page, f"slerp(values.a, values.b, {number / 4})", a=pair[0], b=pair[1])
        assert_near(got, between)


@torch.no_grad()
def test_rounded_weights_are_small_and_close(place, small_data):
    """16 bits for each weight of the VAE and the generator; the test above says how close the outputs are."""
    from lib.digits import load_digits
    vae = export_vae(place / "results_kl1.0", lambda name: load_digits(name, small_data))
    gan = export_gan(place / "results_gan")
    layers = [*vae["layers"].values(), *gan["generators"]["ema"]["layers"], *gan["generators"]["generator"]["layers"]]
    assert {layer["weight"].dtype for layer in layers} == {np.dtype(np.int16)}


# The controls

def text_of(page, selector):
    return page.locator(selector).all_text_contents()


def middle(page, locator, x=0.5, y=0.5):
    locator.scroll_into_view_if_needed()
    box = locator.bounding_box()
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def drag(page, locator, *places):
    first, *rest = [middle(page, locator, *place) for place in places]
    page.mouse.move(*first)
    page.mouse.down()
    for place in rest:
        page.mouse.move(*place, steps=5)
    page.mouse.up()


def set_slider(page, locator, value):
    locator.evaluate("""(input, value) => { input.value = value;
        input.dispatchEvent(new Event("input", {bubbles: true})); }""", value)
    settle(page)


def test_dragging_moves_all_cursors_to_the_same_share_of_their_axes(page):
    choose_run(page, "vae", 1)                      # the second dataset, MNIST: the first one is called digits
    settle(page)
    planes = page.locator("#vae .plane")
    assert planes.count() == 3
    before = page.evaluate("picture('#vae .decoded .image')")
    drag(page, planes.nth(0), (0.3, 0.3), (0.6, 0.4), (0.7, 0.6))
    settle(page)
    assert page.evaluate("picture('#vae .decoded .image')") != before
    shares = page.evaluate("""() => explorer.vae.views.filter(view => view.plane).map(({plane, z}) =>
        plane.range.map(([low, high], axis) => (z[axis] - low) / (high - low)))""")
    assert np.allclose(shares, shares[0], atol=1e-5)
    frame = planes.nth(0).bounding_box()
    left, bottom = 34, 32                           # the margins of the axes
    assert shares[0][0] == pytest.approx((0.7 * frame["width"] - left) / (frame["width"] - left - 14), abs=0.01)
    assert shares[0][1] == pytest.approx((0.4 * frame["height"] - bottom) / (frame["height"] - bottom - 8), abs=0.01)
    expected = page.evaluate("""() => explorer.vae.views.map(({run, z}) => { const canvas = imageCanvas(28, "");
        showImage(canvas, decode(run, z), 28, [0, 1]); return canvas.toDataURL(); }).join(" ")""")
    assert page.evaluate("picture('#vae .decoded .image')") == expected
    assert all(re.match(r"z = \(-?[\d.e-]+, -?[\d.e-]+\)$", text) for text in text_of(page, "#vae .place") if text)


def test_a_click_picks_the_nearest_image_and_shows_its_ellipse(page):
    planes = page.locator("#vae .plane")
    index = 17
    for which in (0, 1):
        page.locator("#vae .picker input").nth(which).check()
        x, y = page.evaluate(f"""() => {{ const {{plane, run}} = planes()[0];
            return plane.toPixels(run.mu[{2 * index}], run.mu[{2 * index + 1}]); }}""")
        planes.nth(0).click(position={"x": x, "y": y})
        settle(page)
        found = page.evaluate(f"explorer.vae.picks[{which}]")
        distance = page.evaluate(f"""() => {{ const {{plane, run}} = planes()[0];
            const [x, y] = plane.toPixels(run.mu[{2 * found}], run.mu[{2 * found + 1}]);
            return Math.hypot(x - {x}, y - {y}); }}""")
        assert distance < 1                         # another image may lie at the same place
        for number in range(3):
            z, sigma, mu, logvar = page.evaluate(f"""() => {{ const {{z, sigma, run}} = planes()[{number}];
                return [z, sigma, ...[run.mu, run.logvar].map(values => values.slice({2 * found}, {2 * found + 2}))]
                    .map(values => Array.from(values)); }}""")
            assert np.allclose(z, mu) and np.allclose(sigma, np.exp(np.array(logvar) / 2), rtol=1e-4)
        index = 40
    assert all("σ = (" in text for text in text_of(page, "#vae .place") if text)
    ends_at_b = page.evaluate("""() => { const view = planes()[0], canvas = imageCanvas(28, "");
        showImage(canvas, decode(view.run, view.at(explorer.vae.picks[1])), 28, [0, 1]);
        const last = view.strip.getContext("2d").getImageData(252, 0, 28, 28).data;
        return last.join() === canvas.getContext("2d").getImageData(0, 0, 28, 28).data.join(); }""")
    assert ends_at_b, "the last of the ten steps is not image B"


def test_the_plane_obeys_the_keyboard(page):
    plane = page.locator("#vae .plane").nth(1)
    plane.focus()
    before = page.evaluate("Array.from(planes()[1].z)")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowUp")
    settle(page)
    after, (across, up) = page.evaluate("""() => { const {z, plane} = planes()[1];
        return [Array.from(z), plane.range.map(([low, high]) => (high - low) / 100)]; }""")
    assert np.allclose(np.subtract(after, before), [across, 10 * up], rtol=1e-3)
    page.locator("#vae .picker input").nth(0).check()
    page.keyboard.press("Tab")
    plane.focus()
    page.keyboard.press("Enter")
    settle(page)
    z, mu = page.evaluate("""() => { const view = planes()[1];
        return [view.z, view.at(explorer.vae.picks[0])].map(values => Array.from(values)); }""")
    assert z == mu


def test_a_drawn_digit_is_encoded_as_it_is_drawn(page):
    box = page.locator("#vae .box")
    drag(page, box, (0.3, 0.2), (0.7, 0.2), (0.45, 0.85))      # a seven
    settle(page)
    ink, z, mu, sigma, logvar = page.evaluate("""() => { const {ink} = explorer.vae, {run, z, sigma} = planes()[1];
        const {mu, logvar} = encode(run, ink);
        return [ink, z, mu, sigma, logvar].map(values => Array.from(values)); }""")
    ink = np.reshape(ink, (28, 28))
    assert ink.max() == 1 and (ink[6, 9:20] > 0.5).all() and ink[20:, :8].max() == 0
    assert np.allclose(z, mu) and np.allclose(sigma, np.exp(np.array(logvar) / 2), rtol=1e-4)
    same = page.evaluate("""() => explorer.vae.views.every(({run, drawn, z}) => { const canvas = imageCanvas(28, "");
        showImage(canvas, decode(run, z), 28, [0, 1]); return canvas.toDataURL() === drawn.toDataURL(); })""")
    assert same, "a reconstruction beside the box is not that of the drawn digit"
    assert page.evaluate("explorer.vae.views.length") == 4
    texts = text_of(page, "#vae .latents .value")   # of the run with five latents
    assert len(texts) == 5 and all(re.match(r"-?\d+\.\d\d ± \d+\.\d\d$", text) for text in texts)
    page.get_by_role("button", name="clear").click()
    assert page.evaluate("Math.max(...explorer.vae.ink)") == 0
    assert page.evaluate("""() => explorer.vae.views.every(({drawn}) =>
        drawn.getContext("2d").getImageData(0, 0, 28, 28).data.every((value, i) => value === 255 * (i % 4 === 3)))""")
    assert np.allclose(page.evaluate("Array.from(planes()[1].z)"), mu)      # the cursors stay
    box.click(button="right")
    assert page.evaluate("Math.max(...explorer.vae.ink)") == 0
    box.click()
    assert page.evaluate("document.activeElement.className") == "box"
    page.get_by_role("button", name="clear").click()
    box.focus()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press(" ")
    assert page.evaluate("Math.max(...explorer.vae.ink)") > 0.9


def test_latents_of_another_number_have_sliders(page):
    before = page.evaluate("picture('#vae .decoded .image')")
    set_slider(page, page.locator("#vae .latents input").nth(3), 2.5)
    assert page.evaluate("explorer.vae.views.find(view => view.sliders).z[3]") == 2.5
    assert not any("±" in text for text in text_of(page, "#vae .latents .value"))   # no image is encoded there
    assert page.evaluate("picture('#vae .decoded .image')") != before


def test_images_are_taken_at_random(page):
    strips = page.evaluate("picture('#vae .wide .image')")
    page.evaluate("Math.random = () => 0.999")
    page.get_by_role("button", name="another B").click()
    settle(page)
    assert page.evaluate("explorer.vae.picks[1]") == 127         # the last of 128
    assert page.evaluate("picture('#vae .wide .image')") != strips


def test_the_forward_process_keeps_each_points_noise(page):
    time = page.locator("#diffusion .controls input[type=range]").first
    pictures = []
    for k in (0, 40, 100, 40):
        set_slider(page, time, k)
        assert text_of(page, "#diffusion .place")[0].startswith(f"t = {k} of 100: signal √ᾱ = ")
        pictures.append(page.evaluate("picture('#diffusion .plane')"))
    assert pictures[1] == pictures[3] and len(set(pictures)) == 3
    set_slider(page, time, 0)
    page.get_by_role("button", name="to the noise ▶").click()
    assert page.evaluate("explorer.diffusion.state.k") == 1
    page.get_by_role("button", name="◀ to the data").click()
    assert page.evaluate("explorer.diffusion.state.k") == 0
    page.get_by_role("button", name="play").click()
    wait_until(page, "explorer.diffusion.state.k === 100 && !explorer.diffusion.state.playing")
    assert page.locator("#diffusion").get_by_role("button", name="play").count() == 1


def test_the_way_back_is_played_paused_and_scrubbed(page):
    page.get_by_label("process").select_option("back")
    settle(page)
    assert page.evaluate("explorer.diffusion.state.k") == 100
    page.get_by_role("button", name="play").click()
    wait_until(page, "explorer.diffusion.state.k < 90")
    page.get_by_role("button", name="pause").click()
    stopped = page.evaluate("explorer.diffusion.state.k")
    page.wait_for_timeout(300)
    assert page.evaluate("explorer.diffusion.state.k") == stopped > 0
    time = page.locator("#diffusion .controls input[type=range]").first
    set_slider(page, time, 0)
    wait_until(page, "explorer.diffusion.state.path.length === 101")
    settle(page)
    assert "computing" not in text_of(page, "#diffusion .place")[0]
    samples, x0 = page.evaluate("""() => { const {path} = explorer.diffusion.state;
        return [path[100].x, path[99].x0].map(values => Array.from(values)); }""")
    assert len(samples) == 2000 and np.allclose(samples, x0, atol=1e-3)        # the last step adds no noise


def test_the_same_seed_gives_the_same_samples(page):
    time = page.locator("#diffusion .controls input[type=range]").first
    seed = page.locator("#diffusion input[type=number]")

    def samples():
        set_slider(page, time, 0)
        wait_until(page, "explorer.diffusion.state.path[explorer.diffusion.state.path.length - 1].k === 0")
        return page.evaluate("Array.from(explorer.diffusion.state.path[explorer.diffusion.state.path.length - 1].x)")

    page.get_by_label("process").select_option("back")
    page.get_by_label("sampler").select_option("ddim")
    set_slider(page, page.get_by_label("steps of DDIM"), 10)
    first = samples()
    assert page.evaluate("explorer.diffusion.state.path.map(entry => entry.k)") == TEN_STEPS
    page.locator("#diffusion").get_by_role("button", name="new noise").click()
    assert seed.input_value() == "1" and samples() != first
    set_slider(page, time, 47)                      # between two stops
    assert text_of(page, "#diffusion .place")[0].startswith("t = 47 of 100 (the points: 56)")
    seed.fill("0")
    seed.press("Enter")
    assert samples() == first


def test_a_dropped_point_shows_its_path_and_the_guesses(page):
    plane = page.locator("#diffusion .plane")
    page.get_by_label("process").select_option("back")
    page.get_by_label("sampler").select_option("ddim")
    set_slider(page, page.get_by_label("steps of DDIM"), 10)
    page.get_by_label("process").select_option("forward")
    settle(page)
    box = plane.bounding_box()
    plane.click(position={"x": 0.25 * box["width"], "y": 0.25 * box["height"]})
    settle(page)
    assert page.get_by_label("process").input_value() == "back"
    start, path = page.evaluate("""() => { const {start, path} = explorer.diffusion.state.drop;
        return [start, path.map(({k, x, x0}) => [k, Array.from(x), Array.from(x0)])]; }""")
    assert [entry[0] for entry in path] == TEN_STEPS
    assert np.allclose(path[0][1], start, atol=1e-6) and -2 < start[0] < -1 and 1 < start[1] < 2
    assert np.allclose(path[-1][1], path[-2][2])
    before = page.evaluate("picture('#diffusion .plane')")
    page.get_by_role("button", name="◀ to the data").click()
    settle(page)
    assert page.evaluate("picture('#diffusion .plane')") != before
    page.get_by_role("button", name="remove the dropped point").click()
    assert page.evaluate("explorer.diffusion.state.drop") is None
    plane.focus()
    page.keyboard.press("d")
    page.keyboard.press("Enter")
    assert page.evaluate("explorer.diffusion.state.drop.start") == [0.1, 0]
    page.get_by_role("button", name="remove the dropped point").click()


def test_arrows_density_and_number_of_points(page):
    set_slider(page, page.locator("#diffusion .controls input[type=range]").first, 50)
    for name in ("predicted direction", "true density"):
        before = page.evaluate("picture('#diffusion .plane')")
        page.get_by_label(name).click()
        settle(page)
        assert page.evaluate("picture('#diffusion .plane')") != before, name
    page.get_by_role("combobox", name="points").select_option("2000")
    settle(page)
    assert page.evaluate("explorer.diffusion.state.path[0].x.length") == 4000
    plane = page.locator("#diffusion .plane")
    plane.focus()
    k = page.evaluate("explorer.diffusion.state.k")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("explorer.diffusion.state.k") < k
    page.evaluate("window.left = explorer.diffusion.state")
    page.get_by_role("button", name="play").click()
    choose_run(page, "diffusion", 1)
    settle(page)
    assert page.evaluate("explorer.diffusion.run.name") == "results_swiss"
    assert page.evaluate("window.left.playing") is False


def test_samples_are_picked_and_interpolated(page):
    settle(page)
    page.get_by_role("radio", name="first image").check()
    page.get_by_role("button", name="pick sample 3", exact=True).click()
    sample = page.get_by_role("button", name="pick sample 8", exact=True)
    sample.focus()
    page.keyboard.press("Enter")                    # the second one
    settle(page)
    assert page.evaluate("explorer.gan.state.picks.map(picked => picked.k)") == [2, 7]
    assert sample.get_attribute("aria-pressed") == "true" and sample.get_attribute("data-mark") == "2"
    slider = page.get_by_label("from the first to the second")
    images = page.evaluate("explorer.gan.canvases.map(canvas => canvas.toDataURL())")
    set_slider(page, slider, 0)
    assert page.evaluate("picture('#gan .large .image')").split()[0] == images[2]
    set_slider(page, slider, 1)
    assert page.evaluate("picture('#gan .large .image')").split()[0] == images[7]


def test_temperature_seed_and_weights(page):
    images = "explorer.gan.canvases.map(canvas => canvas.toDataURL())"
    before = page.evaluate(images)
    set_slider(page, page.get_by_label("temperature"), 0)
    assert len(set(page.evaluate(images))) == 1     # the average image
    set_slider(page, page.get_by_label("temperature"), 1)
    assert page.evaluate(images) == before
    page.get_by_label("weights").select_option("generator")
    settle(page)
    assert page.evaluate(images) != before
    page.get_by_label("weights").select_option("ema")
    page.locator("#gan").get_by_role("button", name="new noise").click()
    settle(page)
    assert not set(page.evaluate(images)) & set(before)
    page.locator("#gan input[type=number]").fill("0")
    page.locator("#gan input[type=number]").press("Enter")
    settle(page)
    assert page.evaluate(images) == before


def test_all_samples_follow_while_the_temperature_changes(page):
    """Also those at the end of the grid, before the hand comes to rest."""
    moved = page.evaluate("""async () => {
        const input = document.querySelector("#gan input[type=range]"), images = () => explorer.gan.canvases.map(
            canvas => canvas.toDataURL()), before = images(), moved = new Set();
        for (let k = 0; k < 400 && moved.size < 16; k++) {
            input.value = 1 - 0.05 * (k % 10 + 1);
            input.dispatchEvent(new Event("input", {bubbles: true}));
            await new Promise(done => setTimeout(done, 30));
            images().forEach((image, number) => { if (image !== before[number]) moved.add(number); });
        }
        return moved.size;
    }""")
    assert moved == 16
    set_slider(page, page.get_by_label("temperature"), 1)


def test_single_latents_change_both_generators(page):
    page.get_by_role("radio", name="first image").check()
    page.get_by_role("button", name="pick sample 4", exact=True).click()
    settle(page)
    large = "Object.values(explorer.gan.large).map(canvas => canvas.toDataURL())"
    before = page.evaluate(large)
    assert len(set(before)) == 2 and page.locator("#gan .latents input").count() == 64
    set_slider(page, page.locator("#gan .latents input").nth(5), 3.5)
    after = page.evaluate(large)
    assert after[0] != before[0] and after[1] != before[1]
    page.get_by_role("button", name="as it was").click()
    settle(page)
    assert page.evaluate(large) == before


def test_the_snapshots_are_those_of_the_training(page, place):
    steps = sorted(int(path.stem[-6:]) for path in (place / "results_gan").glob("generated_*.png"))
    assert page.evaluate("explorer.runs.gan.find(run => run.name === 'results_gan').snapshots.steps") == steps
    slider, pictures = page.get_by_label("training step"), []
    for number in range(len(steps)):
        set_slider(page, slider, number)
        pictures.append(page.evaluate("picture('#gan .large .image')").split()[1])
    assert len(set(pictures)) == len(steps)
    choose_run(page, "gan", 1)
    settle(page)
    assert "has no snapshots" in page.locator("#gan").inner_text()
    assert page.locator("#gan .latents input").count() == 7


# Where it is looked at

@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 2000])
def test_it_fits_every_width_and_has_contrast(browser, place, scheme, width):
    """No horizontal scroll; text and lines have the contrast of WCAG AA (4.5) in both colour schemes."""
    page, events = opened(browser, place / "explorer.html", viewport={"width": width, "height": 844},
                          color_scheme=scheme)
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("""Math.max(...Array.from(document.querySelectorAll("main *"),
        one => one.getBoundingClientRect().right))""") <= width
    names = ["text", "muted", "accent", "second", "on-accent", "back", "card", "plane"]
    colors = {name: page.evaluate(f"colorOf('--{name}')") for name in names}

    def luminance(color):
        parts = [int(color[i:i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    pairs = [(front, back) for front in ("text", "muted", "accent", "second") for back in ("back", "card", "plane")]
    for front, back in [*pairs, ("on-accent", "accent")]:
        low, high = sorted((luminance(colors[front]), luminance(colors[back])))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (front, back)
    assert (luminance(colors["back"]) < 0.2) == (scheme == "dark")
    assert events == []
    page.context.close()


def test_it_can_be_used_by_touch_and_with_reduced_motion(browser, place):
    page, events = opened(browser, place / "explorer.html", viewport={"width": 390, "height": 844}, has_touch=True,
                          is_mobile=True, reduced_motion="reduce")
    settle(page)
    page.get_by_role("button", name="play").tap()
    wait_until(page, "explorer.diffusion.state.playing && explorer.diffusion.state.k > 0")
    assert page.evaluate("explorer.diffusion.state.k") % 10 == 0
    page.get_by_label("process").select_option("back")
    page.get_by_label("sampler").select_option("ddim")
    set_slider(page, page.get_by_label("steps of DDIM"), 10)
    page.evaluate("""() => { const {state} = explorer.diffusion; window.seen = new Set(); setInterval(
        () => window.seen.add(state.k), 20); }""")
    page.get_by_role("button", name="play").tap()
    wait_until(page, "!explorer.diffusion.state.playing")
    assert set(page.evaluate("[...window.seen]")) >= set(TEN_STEPS[1:-1])      # no stop is left out
    plane, devtools = page.locator("#vae .plane").first, page.context.new_cdp_session(page)
    before = page.evaluate("Array.from(planes()[0].z)")
    places = [dict(zip("xy", middle(page, plane, *place))) for place in ((0.3, 0.3), (0.5, 0.4), (0.6, 0.7))]
    for kind, points in zip(("touchStart", "touchMove", "touchMove", "touchEnd"), [*([one] for one in places), []]):
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    settle(page)
    assert page.evaluate("Array.from(planes()[0].z)") != before
    assert events == []
    page.context.close()


def test_every_control_has_a_name_and_a_visible_focus(page):
    nameless = page.evaluate("""() => Array.from(document.querySelectorAll("input, select, button, canvas"))
        .filter(one => !(one.getAttribute("aria-label") || one.textContent.trim() && one.tagName === "BUTTON" ||
            one.closest("label") && one.closest("label").textContent.trim())).map(one => one.outerHTML)""")
    assert nameless == []
    page.locator("nav a").first.focus()
    for _ in range(40):
        page.keyboard.press("Tab")
        style = page.evaluate("""() => { const style = getComputedStyle(document.activeElement);
            return [style.outlineStyle, parseFloat(style.outlineWidth), document.activeElement.outerHTML]; }""")
        assert style[0] == "solid" and style[1] >= 2, style


def test_nothing_else_can_run_or_be_fetched(browser, place):
    """The policy stops a script, a style, a fetch and an image from elsewhere."""
    page, events = opened(browser, place / "explorer.html")
    page.evaluate("""async () => { const script = document.createElement("script"), image = new Image();
        script.textContent = "window.ran = 1"; document.head.append(script); image.src = "http://127.0.0.1:9/x.png";
        await fetch("http://127.0.0.1:9/").catch(() => {}); }""")
    assert page.evaluate("window.ran") is None
    assert len([event for event in events if "Content Security Policy" in event]) >= 3
    page.context.close()


# The command

def test_it_says_what_it_left_out(place):
    said = (place / "said.txt").read_text()
    assert "left out: there is no trained model in results_empty: train one first\n" in said
    assert re.search(r"saved the explorer to explorer.html \(\d+\.\d MB\)\n$", said)
    text = (place / "explorer.html").read_text(encoding="utf-8")
    assert text.count("</script>") == 3             # a name cannot end a script
    runs = json.loads(re.search(r'id="runs">(.*?)</script>', text).group(1))
    assert ODD in [run["name"] for run in runs["vae"]]


def test_a_page_is_not_overwritten(place, tmp_path):
    shutil.copytree(str(place / "results_diffusion"), str(tmp_path / "results_diffusion"))
    done = run(EXPLORER, cwd=tmp_path)
    assert_done(done)
    assert "the page shows no VAE: run_vae_training.py trains one\n" in done.stdout
    assert "the page shows no GAN: run_gan_training.py trains one\n" in done.stdout
    first = (tmp_path / "explorer.html").read_bytes()
    assert_one_line(run(EXPLORER, cwd=tmp_path), 2, "explorer.html already exists", "--overwrite")
    assert_done(run(EXPLORER, "--overwrite", cwd=tmp_path))
    is_same = (tmp_path / "explorer.html").read_bytes() == first
    assert is_same                                  # equal runs give equal pages
    (tmp_path / "notes.html").write_text("<!DOCTYPE html>\n<p>mine")
    assert_one_line(run(EXPLORER, "--output", "notes.html", "--overwrite", cwd=tmp_path), 2, "did not write it")
    assert (tmp_path / "notes.html").read_text() == "<!DOCTYPE html>\n<p>mine"


def test_a_half_finished_repository_has_a_page_with_what_there_is(browser, place, tmp_path):
    shutil.copytree(str(place / "results_diffusion"), str(tmp_path / "results_diffusion"))
    assert_done(run(EXPLORER, cwd=tmp_path))
    page, events = opened(browser, tmp_path / "explorer.html")
    assert "This page shows no VAE: python run_vae_training.py trains one." in page.locator("#vae").inner_text()
    assert "This page shows no GAN" in page.locator("#gan").inner_text()
    assert page.locator("#diffusion .plane").count() == 1 and events == []
    page.context.close()


def test_bad_input_gets_one_line(place, small_data, tmp_path):
    assert_one_line(run(EXPLORER, cwd=tmp_path), 2, "found no trained model to show", TRAIN)
    other = tmp_path / "other"
    other.mkdir()
    torch.save({"settings": {"lr": 1.0}, "history": [{"epoch": 1}]}, str(other / "checkpoint.pt"))
    (tmp_path / "text.pt").write_text("no generator")
    shutil.copytree(str(place / "results_kl1.0"), str(tmp_path / "results_kl1.0"))
    (tmp_path / "results_kl1.0" / "checkpoint.pt").write_bytes(b"damaged")
    done = run(EXPLORER, "other", "text.pt", "gone", "results_kl1.0", cwd=tmp_path)
    assert_one_line(done, 2, "found no trained model to show")
    lines = done.stdout.splitlines()
    assert lines[0] == "left out: other is not a run of one of the training scripts"
    assert len(lines) == 4 and all(line.startswith("left out: ") for line in lines)
    assert not (tmp_path / "explorer.html").exists()
    done = run(EXPLORER, place / "results_kl0.0", place / "results_kl1.0", place / "results_plain",
               "--data_dir", "nowhere", cwd=tmp_path)
    assert_done(done)                               # MNIST cannot be had, but the GAN can be shown
    assert done.stdout.count("left out") == 2 and done.stdout.count("downloading MNIST") == 1
    done = run(EXPLORER, place / "results_plain", "--output", "no/such/folder.html", cwd=tmp_path)
    assert_one_line(done, 1, "no/such/folder.html")


def test_a_generator_of_another_kind_is_left_out():
    """The page computes the layers of the exercise; what has others would be shown wrongly."""
    noise = sample_noise(4, 6)
    generator = prepare_generator(Generator(3, 3, 6), 6)
    assert len(find_convolutions(generator, noise)) == 5
    leaky, lacking, wide = Generator(3, 3, 6), Generator(3, 3, 6), Generator(3, 3, 6)
    leaky.layers[2] = torch.nn.LeakyReLU(0.2)
    del lacking.layers[4]
    wide.layers[12] = torch.nn.Conv2d(3, 3, 5, 1, 2, bias=False)
    for other in (leaky, lacking, wide):
        with pytest.raises(UserError, match="not that of the exercise"):
            find_convolutions(prepare_generator(other, 6), noise)


def test_a_diffusion_model_that_gives_no_numbers_is_left_out(place, tmp_path):
    folder = tmp_path / "results_diffusion"
    shutil.copytree(str(place / "results_diffusion"), str(folder))
    checkpoint = torch.load(str(folder / "checkpoint.pt"), weights_only=True)
    for value in checkpoint["ema"].values():
        value *= 1e30
    torch.save(checkpoint, str(folder / "checkpoint.pt"))
    done = run(EXPLORER, cwd=tmp_path)
    assert_one_line(done, 2, "found no trained model to show")
    assert "left out: the points that results_diffusion generates are not finite numbers" in done.stdout


def test_runs_have_short_names_and_are_shown_once(place, tmp_path):
    done = run(EXPLORER, place / "results_plain", f"{place / 'results_plain'}/", cwd=tmp_path)
    assert_done(done)
    text = (tmp_path / "explorer.html").read_text(encoding="utf-8")
    runs = json.loads(re.search(r'id="runs">(.*?)</script>', text).group(1))
    assert [run["name"] for run in runs["gan"]] == ["results_plain"]


def test_it_opens_in_the_browser(place, tmp_path, monkeypatch):
    program = tmp_path / "browser"
    program.write_text(f"#!{sys.executable}\nimport sys\nopen({str(tmp_path / 'opened')!r}, 'w').write(sys.argv[1])\n")
    program.chmod(0o755)
    done = finish(start(EXPLORER, place / "results_plain", "--open", cwd=tmp_path,
                        env=environment(BROWSER=str(program))))
    assert_done(done)
    assert (tmp_path / "opened").read_text() == (tmp_path / "explorer.html").as_uri()


def test_the_page_that_comes_with_the_project_is_up_to_date(browser):
    """It has today's source, is at most 4 MB, and shows no image of MNIST."""
    from lib.explorer import make_page
    path = ROOT / "docs" / "explorer.html"
    data = path.read_bytes()
    text, arrays = re.search(r'id="runs">(.*?)</script>\s*<script type="text/plain" id="arrays">(.*?)</script>',
                             data.decode("utf-8")).groups()
    is_new = make_page(text, arrays) == data        # pytest would take minutes to show a difference
    assert len(data) <= 4e6 and is_new, "python -m course.reference_explorer --keep_runs"
    runs = json.loads(text)
    assert list(runs["digits"]) == ["digits"] and [len(runs[kind]) for kind in ("vae", "diffusion", "gan")] == [3, 1, 1]
    page, events = opened(browser, path)
    settle(page)
    assert page.locator(".missing").count() == 0 and events == []
    page.context.close()


def test_the_page_that_comes_with_the_project_can_be_renewed(tmp_path):
    """--keep_runs puts the runs of an older page into today's."""
    data = (ROOT / "docs" / "explorer.html").read_text(encoding="utf-8")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "explorer.html").write_text(data.replace("--card: #ffffff", "--card: #fffff0"))
    done = subprocess.run([sys.executable, "-m", "course.reference_explorer", "--keep_runs"], cwd=str(tmp_path),
                          env=environment(PYTHONPATH=str(ROOT)), stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 0, done.stderr
    is_same = (tmp_path / "docs" / "explorer.html").read_text(encoding="utf-8") == data
    assert is_same      # pytest would take minutes to show a difference


def test_the_source_is_readable():
    """No file of the page is long, and every function of the numerics that mirrors lib names what it mirrors."""
    folder = ROOT / "lib" / "explorer_page"
    for path in folder.iterdir():
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 300 and max(map(len, lines)) <= 120, path.name
    numerics = (folder / "numerics.js").read_text(encoding="utf-8")
    mirrored = re.findall(r"// [^\n]*\b(lib/\w+\.py)", numerics)
    assert {"lib/model_vae.py", "lib/model_diffusion.py", "lib/utils.py", "lib/sample_diffusion.py", "lib/model_gan.py",
            "lib/sample_gan.py"} == set(mirrored)
    assert all((ROOT / name).is_file() for name in map(Path, mirrored))
