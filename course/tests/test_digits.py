"""Where the digits come from: files, a server on loopback that is good, wrong or silent, or scikit-learn; and how they
come as batches."""
import gzip
import os
import socket
import subprocess
import sys
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from torchvision.datasets import MNIST

from course.tests.support import (
    MNIST_FILES,
    ROOT,
    TRAIN,
    archives,
    assert_done,
    contents,
    environment,
    idx,
    load,
    run,
    small_mnist,
    write_mnist,
)
from lib import digits
from lib.digits import Batches, load_digits, make_test_loader, make_train_loader, shift_and_rotate
from lib.script import RunError, UserError

COURSE_DATA = os.environ.get("COURSE_DATA")
FILES = small_mnist(train=60, test=20)


class Server(ThreadingHTTPServer):
    """A server of archives on loopback. behaviour: what it does to whoever asks. asked: what it was asked for."""
    daemon_threads = True

    def __init__(self, packed, behaviour):
        super().__init__(("127.0.0.1", 0), Handler)
        self.packed, self.behaviour, self.asked, self.closing = packed, behaviour, [], threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/mnist/"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self):
        self.closing.set()
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        name, behaviour = self.path.split("/")[-1], self.server.behaviour
        self.server.asked.append(name)
        data = self.server.packed[name]
        if behaviour in ("404", "500"):
            return self.send_error(int(behaviour))
        if behaviour == "silent":
            return self.server.closing.wait(30)
        if behaviour == "no HTTP":
            return self.wfile.write(b"hello\r\n")
        if behaviour == "changed" or behaviour == "second file changed" and len(self.server.asked) > 1:
            data = bytes(byte ^ 1 for byte in data)
        if behaviour == "a page":
            data = b"<html>please log in</html>"
        if behaviour == "empty":
            data = b""
        self.send_response(200)
        if behaviour != "cut, of no stated length":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data if behaviour in ("good", "changed", "second file changed", "a page", "empty")
                         else data[:len(data) // 2])
        self.wfile.flush()
        if behaviour == "half, then silent":
            self.server.closing.wait(30)


# What may go wrong, and what the reason must name.
FAULTS = {"404": "404", "500": "500", "silent": "timed out", "half, then silent": "timed out", "no HTTP": "hello",
          "cut": "", "cut, of no stated length": "checksum", "empty": "checksum", "changed": "checksum",
          "second file changed": "checksum", "a page": "checksum"}


@pytest.fixture
def serve(monkeypatch):
    """serve(behaviour, ...) starts a server for each and makes them torchvision's list of mirrors."""
    packed, resources = archives(FILES)
    servers = []

    def start(*behaviours):
        servers.extend(Server(packed, behaviour) for behaviour in behaviours)
        monkeypatch.setattr(MNIST, "mirrors", [server.url for server in servers])
        return servers

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(MNIST, "resources", resources)
    monkeypatch.setattr(digits, "TIMEOUT", 0.5)
    yield start
    for server in servers:
        server.close()


def assert_is_mnist(loaded):
    assert loaded.name == "mnist"
    for tensor, name in zip(loaded[1:], MNIST_FILES):
        array = np.frombuffer(FILES[name], np.uint8, offset=16 if "images" in name else 8)
        assert tensor.shape == ((len(array) // 784, 1, 28, 28) if "images" in name else (len(array),))
        assert np.array_equal(tensor.numpy().ravel(), array), name
        assert tensor.dtype == (torch.uint8 if "images" in name else torch.int64)


# The download

def test_download_from_a_good_server(serve, tmp_path, capsys):
    server, = serve("good")
    assert_is_mnist(load_digits("auto", tmp_path / "new"))
    assert str(tmp_path / "new") in capsys.readouterr().out
    assert contents(tmp_path / "new") == {f"MNIST/raw/{name}": data for name, data in FILES.items()}
    assert sorted(server.asked) == sorted(server.packed)
    assert_is_mnist(load_digits("mnist", tmp_path / "new"))
    assert len(server.asked) == 4 and capsys.readouterr().out == "", "it was downloaded again"


@pytest.mark.parametrize("fault", FAULTS)
def test_download_that_fails(serve, tmp_path, capsys, fault):
    server, = serve(fault)
    with pytest.raises(RunError) as caught:
        load_digits("mnist", tmp_path)
    message = str(caught.value)
    assert FAULTS[fault] in message and "--dataset digits" in message and "\n" not in message
    whole = {f"MNIST/raw/{name}": data for name, data in FILES.items()}
    assert all(whole.get(name) == data for name, data in contents(tmp_path).items()), "something is half-written"
    assert len(contents(tmp_path)) == (1 if fault == "second file changed" else 0)
    capsys.readouterr()

    assert load_digits("auto", tmp_path).name == "digits"
    said = capsys.readouterr().out.splitlines()
    assert FAULTS[fault] in said[-1] and "scikit-learn" in said[-1] and len(said) == 2

    server.behaviour = "good"
    assert_is_mnist(load_digits("mnist", tmp_path))
    assert contents(tmp_path) == whole


def test_refused_connection(serve, tmp_path, monkeypatch):
    serve()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{port}/"])
    with pytest.raises(RunError, match="refused"):
        load_digits("mnist", tmp_path)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("fault", FAULTS)
def test_second_mirror_helps(serve, tmp_path, fault):
    first, second = serve(fault, "good")
    assert_is_mnist(load_digits("mnist", tmp_path))
    assert len(first.asked) == 4 and len(second.asked) == (3 if fault == "second file changed" else 4)


def test_only_what_is_missing_is_downloaded(serve, tmp_path):
    server, = serve("good")
    write_mnist(tmp_path, {name: FILES[name] for name in MNIST_FILES[:3]})
    assert_is_mnist(load_digits("mnist", tmp_path))
    assert server.asked == [f"{MNIST_FILES[3]}.gz"]


def test_full_disk_during_the_download(serve, tmp_path):
    resource = pytest.importorskip("resource")
    serve("good")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10000, hard))
        with pytest.raises(RunError, match="File too large"):
            load_digits("mnist", tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(tmp_path) == {}


def test_script_downloads_and_trains(serve, tmp_path):
    server, = serve("good")
    program = ("import runpy, sys\nfrom torchvision.datasets import MNIST\n"
               f"MNIST.mirrors, MNIST.resources = [{server.url!r}], {MNIST.resources!r}\n"
               f"sys.path.insert(0, {str(ROOT)!r})\nsys.argv[0] = {str(ROOT / TRAIN)!r}\n"
               "runpy.run_path(sys.argv[0], run_name='__main__')")
    done = subprocess.run([sys.executable, "-c", program, "--num_epochs", "1", "--hidden_size", "20", "--no_images"],
                          cwd=str(tmp_path), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True)
    assert_done(done)
    assert load(tmp_path / "results_kl1.0")["settings"]["dataset"] == "mnist"
    assert set(contents(tmp_path / "data")) == {f"MNIST/raw/{name}" for name in MNIST_FILES}


# Without a network

def test_script_that_falls_back(tmp_path):
    """What the run was trained on is kept with it: it is resumed on that, also where MNIST has come in the meantime."""
    flags = ("--hidden_size", 10, "--batch_size", 512, "--no_images")
    done = run(TRAIN, *flags, "--num_epochs", 1, cwd=tmp_path)
    assert_done(done)
    lines = [line for line in done.stdout.splitlines() if "scikit-learn" in line]
    assert len(lines) == 1 and "MNIST" in lines[0] and "refused" in lines[0]
    assert load(tmp_path / "results_kl1.0")["settings"]["dataset"] == "digits"
    before = contents(tmp_path / "results_kl1.0")
    write_mnist(tmp_path / "data", FILES)
    assert_done(run(TRAIN, *flags, "--num_epochs", 1, "--resume", cwd=tmp_path))
    assert contents(tmp_path / "results_kl1.0") == before


# Files

@pytest.mark.parametrize("name", MNIST_FILES)
@pytest.mark.parametrize("change", [
    lambda data: data[:-1], lambda data: data + b"0", lambda data: data[:6], lambda data: data[:2], lambda data: b"",
    lambda data: b"\x1f\x8b" + data[2:], lambda data: data[:2] + b"\x0d" + data[3:], lambda data: bytes(len(data)),
    lambda data: data[:3] + b"\x02" + data[4:], lambda data: data[:4] + b"\xff" * 4 + data[8:]], ids=[
    "one byte short", "one byte long", "cut in the head", "cut in the magic number", "empty", "another magic number",
    "of floats", "zeros", "another rank", "another count"])
def test_damaged_file_is_named(tmp_path, name, change):
    write_mnist(tmp_path, {**FILES, name: change(FILES[name])})
    before = contents(tmp_path)
    for dataset in ("mnist", "auto"):               # auto does not hide it
        with pytest.raises(UserError) as caught:
            load_digits(dataset, tmp_path)
        assert str(tmp_path / "MNIST" / "raw" / name) in str(caught.value) and "\n" not in str(caught.value)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("changes", [
    {0: np.zeros((59, 28, 28))}, {1: np.zeros(61)}, {2: np.zeros((21, 28, 28))}, {3: np.zeros(0)},
    {0: np.zeros((60, 27, 28))}, {2: np.zeros((20, 28, 14))}, {0: np.zeros((60, 28, 14)), 2: np.zeros((20, 28, 14))},
    {0: np.zeros((0, 28, 28)), 1: np.zeros(0)}, {2: np.zeros((0, 28, 28)), 3: np.zeros(0)}], ids=[
    "fewer images", "more labels", "more test images", "no test labels", "another height",
    "another width of the test set", "another width of both", "no images", "no test images"])
def test_files_that_do_not_belong_together(tmp_path, changes):
    """Each by itself is right; the line names their folder."""
    write_mnist(tmp_path, {**FILES, **{MNIST_FILES[place]: idx(array.astype(np.uint8))
                                       for place, array in changes.items()}})
    with pytest.raises(UserError) as caught:
        load_digits("mnist", tmp_path)
    assert str(tmp_path / "MNIST" / "raw") in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name, other", [(MNIST_FILES[0], MNIST_FILES[1]), (MNIST_FILES[3], MNIST_FILES[2])])
def test_labels_and_images_in_each_others_place(tmp_path, name, other):
    write_mnist(tmp_path, {**FILES, name: FILES[other]})
    with pytest.raises(UserError, match=name):
        load_digits("mnist", tmp_path)


def assert_refused(tmp_path, *words, error=UserError):
    """One line with these words, and every file and link stays as it is."""
    raw = tmp_path / "MNIST" / "raw"
    before = contents(tmp_path), sorted(os.listdir(str(raw))) if raw.is_dir() else ()
    with pytest.raises(error) as caught:
        load_digits("mnist", tmp_path)
    assert all(str(word) in str(caught.value) for word in words) and "\n" not in str(caught.value)
    assert (contents(tmp_path), sorted(os.listdir(str(raw))) if raw.is_dir() else ()) == before
    return str(caught.value)


@pytest.mark.parametrize("label", (10, 26, 255))
@pytest.mark.parametrize("name", MNIST_FILES[1::2])
def test_labels_above_9(serve, tmp_path, name, label):
    serve()
    labels = np.frombuffer(FILES[name], np.uint8, offset=8).copy()
    labels[7] = label
    write_mnist(tmp_path, {**FILES, name: idx(labels)})
    assert_refused(tmp_path, tmp_path / "MNIST" / "raw" / name, label)


IN_PLACE = {
    "folder": lambda path: path.mkdir(), "pipe": lambda path: os.mkfifo(str(path)),
    "broken link": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "link to a folder": lambda path: path.symlink_to("."),
    "device": lambda path: path.symlink_to(os.devnull),
    "file that cannot be read": lambda path: path.symlink_to("/proc/self/mem"),
    "file beyond the memory": lambda path: os.truncate(str(path), 2 ** 40) if path.touch() is None else None}


@pytest.mark.parametrize("kind", IN_PLACE)
@pytest.mark.parametrize("name", MNIST_FILES[:2])
def test_what_is_no_file_is_refused_and_kept(serve, tmp_path, name, kind):
    server, = serve("good")
    write_mnist(tmp_path, {other: FILES[other] for other in MNIST_FILES if other != name})
    path = tmp_path / "MNIST" / "raw" / name
    try:
        IN_PLACE[kind](path)
    except (AttributeError, OSError):
        pytest.skip("this system has no such thing")
    before = os.lstat(str(path))
    with pytest.raises(UserError) as caught:
        load_digits("mnist", tmp_path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert ("cannot be read" in str(caught.value)) is (kind == "file that cannot be read")
    after = os.lstat(str(path))
    assert (before.st_ino, before.st_mode, before.st_size) == (after.st_ino, after.st_mode, after.st_size)
    assert server.asked == []


@pytest.mark.parametrize("place", ("MNIST/raw", "MNIST", "."))
@pytest.mark.parametrize("make", (lambda path: path.write_bytes(b"mine"), lambda path: path.symlink_to(path.name)),
                         ids=("file", "link to itself"))
def test_no_folder_where_one_is_needed(serve, tmp_path, capsys, place, make):
    """The server is not asked for what there is no place for; auto does without."""
    server, = serve("good")
    (tmp_path / "data" / place).parent.mkdir(parents=True, exist_ok=True)
    path = tmp_path / "data" / place
    make(path)
    assert_refused(tmp_path / "data", path, "is not a folder", error=RunError)
    assert load_digits("auto", tmp_path / "data").name == "digits" and server.asked == []
    assert len(capsys.readouterr().out.splitlines()) == 1 and os.path.lexists(str(path)) and not path.is_dir()


def test_warnings_of_torchvision_are_not_shown(tmp_path, monkeypatch):
    from torchvision.datasets import mnist
    read = mnist.read_label_file

    def read_and_warn(path):
        warnings.warn("the given buffer is not writable", stacklevel=2)
        return read(path)

    monkeypatch.setattr(mnist, "read_label_file", read_and_warn)
    write_mnist(tmp_path, FILES)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert_is_mnist(load_digits("mnist", tmp_path))
    assert caught == []


# Archives

def packed(names, level=9):
    """Archives as gzip makes them, which are not those of the servers byte for byte."""
    return {f"{name}.gz": gzip.compress(FILES[name], level) for name in names}


@pytest.mark.parametrize("names", (MNIST_FILES, MNIST_FILES[:1], MNIST_FILES[1:3]), ids=("four", "one", "two"))
def test_archives_are_unpacked_without_the_network(serve, tmp_path, names):
    server, = serve("good")
    archives_there = packed(names, level=1)
    write_mnist(tmp_path, {**{name: FILES[name] for name in MNIST_FILES if name not in names}, **archives_there})
    assert_is_mnist(load_digits("mnist", tmp_path))
    assert contents(tmp_path) == {f"MNIST/raw/{name}": data for name, data in {**FILES, **archives_there}.items()}
    assert server.asked == []


def test_archives_beside_the_files_are_not_read(serve, tmp_path, capsys):
    serve()
    write_mnist(tmp_path, {**FILES, **{f"{name}.gz": b"damaged" for name in MNIST_FILES}})
    assert_is_mnist(load_digits("mnist", tmp_path))
    assert capsys.readouterr().out == ""


def test_archives_under_the_names_of_the_files(serve, tmp_path):
    serve()
    write_mnist(tmp_path, {name: gzip.compress(data) for name, data in FILES.items()})
    before = contents(tmp_path)
    assert_is_mnist(load_digits("mnist", tmp_path))
    assert contents(tmp_path) == before


DAMAGED_ARCHIVES = {
    "cut": lambda data: data[:-9], "cut in half": lambda data: data[:len(data) // 2], "empty": lambda data: b"",
    "a page": lambda data: b"<html>please log in</html>", "head alone": lambda data: data[:5],
    "changed": lambda data: data[:50] + bytes([data[50] ^ 255]) + data[51:],
    "of a wrong checksum": lambda data: data[:-8] + bytes(4) + data[-4:],
    "of something else": lambda data: gzip.compress(b"something else"), "of nothing": lambda data: gzip.compress(b""),
    "of a cut file": lambda data: gzip.compress(gzip.decompress(data)[:-1]),
    "of a longer file": lambda data: gzip.compress(gzip.decompress(data) + b"0"),
    "packed twice": lambda data: gzip.compress(data)}


@pytest.mark.parametrize("name", MNIST_FILES[:2])
@pytest.mark.parametrize("kind", DAMAGED_ARCHIVES)
def test_damaged_archive_is_told_and_downloaded(serve, tmp_path, capsys, kind, name):
    server, = serve("404")
    archive = DAMAGED_ARCHIVES[kind](packed([name])[f"{name}.gz"])
    write_mnist(tmp_path, {**{other: FILES[other] for other in MNIST_FILES if other != name}, f"{name}.gz": archive})
    assert_refused(tmp_path, "404", error=RunError)
    told = [line for line in capsys.readouterr().out.splitlines() if f"{name}.gz cannot be unpacked" in line]
    assert len(told) == 1
    server.behaviour = "good"
    assert_is_mnist(load_digits("mnist", tmp_path))
    assert contents(tmp_path) == {f"MNIST/raw/{name}": data for name, data in {**FILES, f"{name}.gz": archive}.items()}


@pytest.mark.parametrize("make", (lambda path: path.mkdir(), lambda path: path.symlink_to(path.name),
                                  lambda path: os.mkfifo(str(path))), ids=("folder", "link to itself", "pipe"))
def test_archive_that_is_no_file(serve, tmp_path, make):
    server, = serve("good")
    write_mnist(tmp_path, {name: FILES[name] for name in MNIST_FILES[1:]})
    make(tmp_path / "MNIST" / "raw" / f"{MNIST_FILES[0]}.gz")
    assert_is_mnist(load_digits("mnist", tmp_path))
    assert server.asked == [f"{MNIST_FILES[0]}.gz"]


def test_damaged_file_beside_its_archive(serve, tmp_path):
    """What the line advises, to delete the file, helps without a network. Labels above 9 may be the archive's."""
    serve()
    name = MNIST_FILES[1]
    write_mnist(tmp_path, {**FILES, name: FILES[name][:-1], **packed([name])})
    assert_refused(tmp_path, name, f"unpacked from {name}.gz")
    (tmp_path / "MNIST" / "raw" / name).unlink()
    assert_is_mnist(load_digits("mnist", tmp_path))
    bad = idx(np.full(60, 11, np.uint8))
    (tmp_path / "MNIST" / "raw" / name).write_bytes(bad)
    assert_refused(tmp_path, f"delete it and {name}.gz")


@pytest.mark.skipif(not COURSE_DATA, reason="COURSE_DATA names no folder with MNIST")
def test_real_mnist():
    real = load_digits("mnist", COURSE_DATA)
    assert real.name == "mnist"
    assert real.train_images.shape == (60000, 1, 28, 28) and real.test_images.shape == (10000, 1, 28, 28)
    assert torch.bincount(real.train_labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert torch.bincount(real.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert abs(real.train_images.float().mean() / 255 - 0.1307) < 1e-4


def test_digits_of_scikit_learn():
    """Their images, shrunk again, are nearest to an original with the same label."""
    from sklearn.datasets import load_digits as originals
    bunch = originals()
    small = load_digits("digits", "/no/folder/is/needed")
    assert small.name == "digits"
    images = torch.cat([small.train_images, small.test_images])
    labels = torch.cat([small.train_labels, small.test_labels])
    assert images.shape == (1797, 1, 28, 28) and images.dtype == torch.uint8 and len(small.test_images) == 360
    assert images.min() == 0 and images.max() >= 250
    shrunk = torch.nn.functional.avg_pool2d(images[..., 2:26, 2:26].double(), 3).flatten(1) / 255
    distance = torch.cdist(shrunk, torch.tensor(bunch.images).flatten(1) / 16)
    nearest = distance.argmin(1)
    assert torch.equal(labels, torch.tensor(bunch.target)[nearest]) and len(set(nearest.tolist())) > 1790
    assert torch.bincount(small.test_labels, minlength=10).min() >= 20
    again = load_digits("digits")
    assert all(torch.equal(one, other) for one, other in zip(small[1:], again[1:]))


# Batches

def test_batches_go_through_everything_once_a_pass():
    images = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).expand(10, 1, 2, 2)
    labels = torch.arange(10)
    torch.manual_seed(0)
    for shuffle in (False, True):
        batches = Batches(images, labels, 4, shuffle=shuffle, passes=2)
        drawn = list(batches)
        assert len(batches) == len(drawn) == 6 and [len(x) for x, _ in drawn] == [4, 4, 2, 4, 4, 2]
        for x, y in drawn:
            assert x.dtype == torch.float32 and torch.equal((x[:, 0, 0, 0] * 255).round().long(), y)
        passes = [torch.cat([y for _, y in drawn[first:first + 3]]).tolist() for first in (0, 3)]
        assert [sorted(order) for order in passes] == [list(range(10))] * 2
        assert (passes[0] == passes[1] == list(range(10))) is not shuffle
    assert not torch.equal(torch.cat([y for _, y in batches]), torch.cat([y for _, y in batches]))


def test_loaders_of_both_data_sets(tmp_path):
    write_mnist(tmp_path, FILES)
    mnist = load_digits("mnist", tmp_path)
    train, test = make_train_loader(mnist, 16), make_test_loader(mnist)
    assert len(list(train)) == len(train) == 4 and len(torch.cat([x for x, _ in test])) == 20
    small = load_digits("digits")
    train, test = make_train_loader(small, 1437), make_test_loader(small)
    one, other = (next(iter(train))[0] for _ in range(2))
    assert len(train) > 10 and 0 <= one.min() and one.max() <= 1 and not torch.equal(one.sort(0)[0], other.sort(0)[0])
    for _ in range(2):                              # the test set stays as it is, in order
        assert torch.equal(torch.cat([y for _, y in test]), small.test_labels)
        assert torch.equal((torch.cat([x for x, _ in test]) * 255).round().byte(), small.test_images)


def test_shift_and_rotate():
    """A spot off the centre of each image moves by no more than the shift and the arc of the turn."""
    images = torch.zeros(500, 1, 28, 28)
    images[:, :, 13:15, 21:23] = 1                  # its centre lies 8 to the right of the image's
    torch.manual_seed(0)

    def moved(**limits):
        out = shift_and_rotate(images, **limits)
        assert out.shape == images.shape and out.min() >= 0 and out.max() <= 1
        where, total = torch.arange(28.0) - 13.5, out.sum((1, 2, 3))
        return torch.stack([(out.sum((1, 2)) * where).sum(1), (out.sum((1, 3)) * where).sum(1)], 1) / total[:, None]

    still = moved(pixels=0, degrees=0)
    assert torch.allclose(still, torch.tensor([8.0, 0.0]), atol=1e-3)
    shifted = moved(pixels=2, degrees=0) - still
    assert (shifted.amax(0) > 1.8).all() and (shifted.amin(0) < -1.8).all() and shifted.abs().max() < 2.01
    turned = moved(pixels=0, degrees=20)
    angles = torch.atan2(turned[:, 1], turned[:, 0]).rad2deg()
    assert 18 < angles.max() < 20.5 and -20.5 < angles.min() < -18
    assert torch.allclose(turned.norm(dim=1), torch.tensor(8.0), atol=0.1)
