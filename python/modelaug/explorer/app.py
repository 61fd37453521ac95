"""Controls and panels of the explorer, by Panel and Bokeh. Sources of the panels are updated in place."""

from __future__ import annotations

import html
import time
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import panel as pn
from bokeh.layouts import gridplot
from bokeh.models import ColumnDataSource, Range1d
from bokeh.plotting import figure
from panel.io.document import hold
from panel.io.notebook import push_notebook

from modelaug import _checks
from modelaug.data.cohort import LandmarkObject
from modelaug.explorer.choice import ModelChoice
from modelaug.explorer.pictures import PANELS, Line, grey_limits, pictures
from modelaug.explorer.state import ExplorerState, PairRenderer
from modelaug.models.appearance import AppearanceModel
from modelaug.plots.figures import OBJECT_COLORS
from modelaug.synthesis import Pair, PairOptions

_SIZE: Final = 256  # screen pixels of a panel's longer side
_MOST_MODES: Final = 100  # most sliders for shape, and for texture
_RANGE: Final = 3.0  # standard deviations, the range of sliders
_LAST_INDEX: Final = 999  # on the slider
_DELAY: Final = 10  # ms between a change and its drawing
_PALE: Final = ("flow", "warped grid", "Jacobian")  # panels whose contours are black
_TITLES: Final = {
    "flow": "flow (→ red, ↓ yellow, ← cyan)",
    "Jacobian": "Jacobian (red: compressed)",
}
_STYLE: Final[dict[str, Any]] = {"width": 240, "margin": (2, 10)}


class Explorer:
    """Controls and panels of one session.

    Parameters
    ----------
    choice
        The models to choose from.
    modes
        Number of sliders for the first modes of shape, and of texture.
    """

    def __init__(self, choice: ModelChoice, *, modes: int = 6) -> None:
        self._choice = choice
        self._renderer = PairRenderer(choice)
        self._use_level(choice.levels[-1] if choice.levels else None)
        self._count = _checks.integer("modes", modes, minimum=1, maximum=_MOST_MODES)
        self.pair: Pair
        self._make_controls()
        self._make_panels()
        self.update()

    @property
    def state(self) -> ExplorerState:
        """The state that the controls select."""
        return ExplorerState(
            source=self.source.value,
            seed=int(self.seed.value or 0),
            index=int(self.index.value),
            shape=_deviations(self.shape),
            texture=_deviations(self.texture),
            level=self._level,
            options=PairOptions(flow=self.flow.value, texture=self.textures.value, pose=self.pose.value),
        )

    def view(self) -> pn.viewable.Viewable:
        """Return the page: the controls on the left, the panels on the right."""
        sliders = pn.Column(self._reset, "**Shape** (sd)", *self.shape, "**Texture** (sd)", *self.texture)
        draws = pn.Column(self.seed, self.index)

        def switch(source: str) -> None:
            draws.visible, sliders.visible = source == "pairs", source == "modes"

        pn.bind(switch, self.source.param.value, watch=True)
        switch(self.source.value)
        controls = pn.Column(self.source, *self._selects, draws, sliders, width=265)
        line = pn.Row(self.line, self._copy)
        return pn.Row(controls, pn.Column(self._pane, self.facts, line))

    def update(self) -> None:
        """Draw the pair of the controls' state."""
        started = time.perf_counter()
        try:
            state = self.state
            model = self._choice.model(state.level)
            self.pair = self._renderer.pair(state)
        except (TypeError, ValueError, RuntimeError) as error:  # a browser may send anything
            self.facts.object = f"<b>{html.escape(' '.join(str(error).split()))}</b>"
            return
        seen = pictures(self.pair, model.objects, self._limits)
        with hold(pn.state.curdoc):  # one message, so that the browser draws once
            for name in PANELS:
                self._images[name].data = {"image": [_rgba(seen.images[name])]}
                for source, line in zip(self._contours[name], seen.contours[name], strict=True):
                    source.data = {"x": line[:, 1], "y": line[:, 0]}
            self._grid.data = _columns(seen.grid)
            self.line.value = state.line(self._choice)
            milliseconds = 1000 * (time.perf_counter() - started)
            facts = [f"<b>{html.escape(name)}</b> {html.escape(fact)}" for name, fact in seen.facts.items()]
            self.facts.object = " &nbsp; ".join([*facts, f"<b>drawn in</b> {milliseconds:.0f} ms"])
        push_notebook(self._pane)  # notebooks need it to send changed sources

    def _make_controls(self) -> None:
        self.source = pn.widgets.RadioButtonGroup(
            options={"random pairs": "pairs", "modes": "modes"}, value="pairs", **_STYLE
        )
        self.seed = pn.widgets.IntInput(label="Seed", value=0, start=0, step=1, **_STYLE)
        self.index = pn.widgets.IntSlider(label="Pair", value=0, start=0, end=_LAST_INDEX, **_STYLE)
        self.shape, self.texture = (
            [
                pn.widgets.FloatSlider(value=0.0, start=-_RANGE, end=_RANGE, step=0.1, **_STYLE)
                for _ in range(self._count)
            ]
            for _ in range(2)
        )
        self._fit_sliders(self._model)
        self.flow = pn.widgets.Select(label="Flow", options=["composed", "direct"], **_STYLE)
        self.textures = pn.widgets.Select(label="Textures", options=["independent", "shared"], **_STYLE)
        self.pose = pn.widgets.Select(label="Poses", options=["cohort", "none"], **_STYLE)
        self.level = pn.widgets.DiscreteSlider(
            label="Levels of locality", options=list(self._choice.levels) or [0], value=self._level or 0, **_STYLE
        )
        self._selects = [self.flow, self.textures, self.pose] + ([self.level] if self._choice.levels else [])
        self._reset = pn.widgets.Button(label="Back to the mean", **_STYLE)
        self._reset.on_click(lambda _: self._to_mean())
        self.facts = pn.pane.HTML("", width=4 * _SIZE)
        self.line = pn.widgets.TextAreaInput(
            label="The same in Python", value="", rows=3, max_length=10_000, resizable=False, width=4 * _SIZE - 90
        )
        self._copy = pn.widgets.Button(label="Copy", width=70, align="center")
        self._copy.js_on_click(args={"line": self.line}, code="navigator.clipboard.writeText(line.value)")
        self._silent = self._due = False
        for control in (self.source, self.seed, self.index, *self.shape, *self.texture, *self._selects[:3]):
            control.param.watch(lambda _: self._changed(), "value")
        self.level.param.watch(lambda _: self._change_level(), "value")

    def _make_panels(self) -> None:
        h, w = self._model.grid
        scale = _SIZE / max(h, w)
        across, down = Range1d(-0.5, w - 0.5), Range1d(h - 0.5, -0.5)  # shared, so that all panels zoom as one
        self._images = {name: ColumnDataSource({"image": []}) for name in PANELS}
        self._contours = {name: [ColumnDataSource({"x": [], "y": []}) for _ in self._model.objects] for name in PANELS}
        self._grid = ColumnDataSource({"xs": [], "ys": []})
        plots = []
        for name in PANELS:
            plot = figure(
                title=_TITLES.get(name, name),
                x_range=across,
                y_range=down,
                frame_width=max(1, round(w * scale)),
                frame_height=max(1, round(h * scale)),
                tools="pan,wheel_zoom,box_zoom,reset",
                min_border=2,
            )
            plot.axis.visible = plot.grid.visible = False
            plot.title.text_font_size = "12px"
            plot.image_rgba(image="image", x=-0.5, y=-0.5, dw=w, dh=h, source=self._images[name])
            if name == "warped grid":
                plot.multi_line(xs="xs", ys="ys", source=self._grid, line_color="#555555", line_width=0.8)
            for k, (each, source) in enumerate(zip(self._model.objects, self._contours[name], strict=True)):
                _draw_object(plot, each, source, "black" if name in _PALE else OBJECT_COLORS[k % len(OBJECT_COLORS)])
            plots.append(plot)
        rows = [plots[:4], plots[4:]]
        self._pane = pn.pane.Bokeh(gridplot(rows, toolbar_location="right", toolbar_options={"logo": None}))

    def _fit_sliders(self, model: AppearanceModel) -> None:
        """Show one slider per mode of the model, with the mode's share of the variance."""
        for sliders, part, kind in ((self.shape, model.shape, "shape"), (self.texture, model.texture, "texture")):
            for k, slider in enumerate(sliders):
                slider.visible = k < len(part.variances)
                if slider.visible:
                    slider.label = f"{kind} {k + 1} ({part.variances[k] / part.variances.sum():.0%})"

    def _changed(self) -> None:
        """Schedule a drawing, so that outdated values of a moving slider are skipped."""
        document = pn.state.curdoc
        if self._silent or self._due:
            return
        if document is None or document.session_context is None:
            self.update()
            return
        self._due = True
        document.add_timeout_callback(self._draw_due, _DELAY)

    def _draw_due(self) -> None:
        self._due = False
        self.update()

    def _change_level(self) -> None:
        self._use_level(int(self.level.value))
        self._fit_sliders(self._model)
        self.update()

    def _use_level(self, level: int | None) -> None:
        self._level, self._model = level, self._choice.model(level)
        self._limits = grey_limits(self._model)

    def _to_mean(self) -> None:
        """Set all sliders to 0, and draw once."""
        self._silent = True
        try:
            for slider in (*self.shape, *self.texture):
                slider.value = 0.0
        finally:
            self._silent = False
        self.update()


def _draw_object(plot: Any, each: LandmarkObject, source: ColumnDataSource, color: str) -> None:
    if each.kind == "points":
        plot.scatter(x="x", y="y", source=source, color=color, size=3)
    else:
        plot.line(x="x", y="y", source=source, color=color, line_width=1.4)


def _deviations(sliders: list[Any]) -> tuple[float, ...]:
    """Return the values of visible sliders, without rounding errors of their steps."""
    return tuple(round(float(each.value), 3) for each in sliders if each.visible)


def _rgba(colors: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """Convert colours (h, w, 3) to opaque pixels (h, w) of Bokeh, four bytes in a number."""
    rgba = np.full((*colors.shape[:2], 4), 255, np.uint8)
    rgba[..., :3] = colors
    return rgba.view(np.uint32)[..., 0]


def _columns(lines: list[Line]) -> dict[str, list[npt.NDArray[np.float32]]]:
    both = [np.ascontiguousarray(line.T, dtype=np.float32) for line in lines]
    return {"xs": [each[1] for each in both], "ys": [each[0] for each in both]}
