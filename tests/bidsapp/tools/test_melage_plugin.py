"""The extension of the MELAGE viewer, in a stand-in of the interface that MELAGE documents."""

import importlib
import sys
from types import ModuleType, SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from brainseg.bidsapp.cli import main
from brainseg.bidsapp.cli.parser import Parser

STUB = """
import sys, nibabel as nib, numpy as np
print("skull-stripping", flush=True)
image = nib.load(sys.argv[2])
if "sub-open_FLAIR" in sys.argv[2]:
    raise SystemExit("no FLAIR today. Give another.")
for k, word in enumerate(sys.argv):
    if word.endswith(".nii.gz") and k > 2:
        nib.save(nib.Nifti1Image((k * (np.asarray(image.dataobj) > 50)).astype("int16"), image.affine), word)
print("done: 3 structures")
"""


class Widget:
    """A control that keeps what it is given."""

    def __init__(self, text=""):
        self.text_, self.enabled, self.clicked = text, True, SimpleNamespace(connect=self._connect)

    def _connect(self, function):
        self.click = function

    def currentText(self):
        return self.text_

    text = currentText

    def setText(self, text):
        self.text_ = text

    def setEnabled(self, value):
        self.enabled = value

    def setRange(self, low, high):
        self.range = (low, high)

    def setValue(self, value):
        self.value = value


class Dialog:
    """MELAGE's window: the choice of the image comes first, then the items of the schema."""

    def __init__(self, parent=None):
        self.widgets, self.shown = {}, []

    def create_main_ui(self, schema, default_items=True):
        self.title = schema["title"]
        self._build([{"id": "combo_view", "options": ["view 1", "view 2"]}, *schema["items"]])

    def _build(self, items):
        for item in items:
            if item.get("id"):
                self.widgets[item["id"]] = Widget((item.get("options") or [item.get("text", "")])[0])
            self._build(item.get("children", []))

    def setAttribute(self, *_):
        pass


class Signal:
    def __init__(self, *_):
        self.sent = []

    def emit(self, value):
        self.sent.append(value)


def _helpers():
    """Return MELAGE's functions that describe controls."""
    found = ModuleType("melage.plugins.ui_helpers")
    found.Button = found.Progress = found.Label = lambda id=None, **more: {"id": id, **more}
    found.HBox = lambda children: {"children": children}
    found.Combo = lambda id, options, label=None: {"children": [{"id": id, "options": options}]}
    found.FilePicker = lambda id, **more: {"children": [{"id": f"{id}_path", "text": ""}]}
    return found


@pytest.fixture
def plugin(tmp_path, monkeypatch, capsys):
    """The extension, written and imported as MELAGE does, and the messages that it shows."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    assert main.main(["melage-plugin", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "brainseg_bids")
    said = []
    modules = {name: ModuleType(name) for name in ("melage", "melage.dialogs", "melage.widgets", "PyQt5")}
    modules["melage.dialogs.dynamic_gui"] = SimpleNamespace(DynamicDialog=Dialog)
    modules["melage.plugins"] = ModuleType("melage.plugins")
    modules["melage.plugins.ui_helpers"] = _helpers()
    modules["melage.widgets"].MelagePlugin = type("MelagePlugin", (), {})
    modules["PyQt5.QtCore"] = SimpleNamespace(Qt=SimpleNamespace(WA_DeleteOnClose=1), pyqtSignal=Signal)
    box = SimpleNamespace(information=lambda parent, title, text: said.append(text))
    application = SimpleNamespace(processEvents=lambda: None)
    modules["PyQt5.QtWidgets"] = SimpleNamespace(QApplication=application, QMessageBox=box)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "plugins"]:
        monkeypatch.delitem(sys.modules, name)
    found = importlib.import_module("plugins.brainseg_bids.brainseg_bids")
    yield SimpleNamespace(module=found, program=sys.modules["plugins.brainseg_bids._program"], said=said)
    for name in [name for name in sys.modules if name.split(".")[0] == "plugins"]:
        del sys.modules[name]


def _image():
    data = np.zeros((6, 7, 8), np.int16)
    data[2:4, 2:5, 3:6] = 100
    return nib.Nifti1Image(data, np.diag([-2.0, 2.0, 2.0, 1.0]))


@pytest.fixture
def window(plugin, tmp_path):
    (tmp_path / "stub.py").write_text(STUB)
    plugin.program.PROGRAM = [sys.executable, str(tmp_path / "stub.py")]
    entry = plugin.module.BrainsegPlugin()
    assert entry.name == "brainseg-bids" and entry.category == "Segmentation" and entry.description
    return entry.get_widget({"view 1": _image(), "view 2": None})


@pytest.mark.parametrize(("result", "position"), [("Structures", 3), ("Tissues", 5), ("Brain mask", 3)])
def test_the_labels_of_the_open_image_come_back_on_its_grid(window, plugin, result, position):
    window.widgets["combo_result"].setText(result)
    window.widgets["btn_apply"].click()
    (sent,) = window.completed.sent
    assert sent["view"] == "view 1" and sent["image"] is None and plugin.said == []
    np.testing.assert_array_equal(sent["label"], position * (np.asarray(_image().dataobj) > 50))
    assert window.widgets["lbl_status"].text() == "done: 3 structures"
    assert window.widgets["btn_apply"].enabled
    window.completed.sent.clear()


def test_what_goes_wrong_is_shown(window, plugin):
    for changes, words in (
        ({"combo_view": "view 2"}, "There is no image in view 2"),
        ({"combo_result": "Lesions (FLAIR)"}, "no FLAIR today. Give another."),
        ({"combo_result": "Lesions (FLAIR)", "combo_population": "fetal"}, "only of adult brains"),
        ({"combo_result": "Brain mask", "network_path": "x.safetensors"}, "by the program's network only"),
    ):
        for name, text in ({"combo_view": "view 1", "combo_population": "adult"} | changes).items():
            window.widgets[name].setText(text)
        window.widgets["btn_apply"].click()
        assert words in plugin.said[-1] and window.completed.sent == []
    assert window.widgets["btn_apply"].enabled


def test_the_program_knows_its_commands(plugin, tmp_path):
    for result, (before, _, _, _, network) in plugin.program.RESULTS.items():
        given = {"network": "mine.safetensors"} if network else {}
        words, _ = plugin.program.command(result, "in.nii.gz", str(tmp_path), **given)
        words = words[len(plugin.program.PROGRAM) :]
        parser = Parser(prog=before[0])
        main.COMMANDS[words[0]].add_arguments(parser)
        assert parser.parse_args(words[1:]).out


def test_the_folder_must_exist_and_labels_are_described(tmp_path, capsys):
    assert main.main(["melage-plugin", str(tmp_path / "nothing")]) == 2
    assert "Give the folder plugins of MELAGE" in capsys.readouterr().err
    assert main.main(["melage-plugin", str(tmp_path)]) == 0
    lines = (tmp_path / "brainseg_bids" / "structures.txt").read_text().splitlines()
    assert '17 220 216 20 1 1 1 "Left-Hippocampus"' in lines and lines[1].endswith('0 0 0 "Background"')


@pytest.mark.slow
def test_the_real_program_answers(plugin):
    scan = nib.Nifti1Image(np.zeros((40, 40, 40), np.int16), np.diag([4.0, 4.0, 4.0, 1.0]))
    with pytest.raises(RuntimeError, match="sub-open_image"):
        plugin.program.segment(scan, "Brain mask", on_line=lambda text: None)
