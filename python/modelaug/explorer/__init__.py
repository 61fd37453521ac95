"""An interactive explorer of a model, in the browser or in a notebook.

`explore` needs Panel and matplotlib, installed by ``pip install modelaug[explore]``; the rest of the package does not
need Panel: `ExplorerState` says what is shown, and `ModePairs` draws pairs of chosen modes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelaug.data.cohort import Cohort
from modelaug.explorer.choice import ModelChoice
from modelaug.explorer.modes import ModePairs
from modelaug.explorer.state import ExplorerState
from modelaug.explorer.state import PairRenderer as PairRenderer  # public until version 0.2
from modelaug.models.appearance import AppearanceModel

if TYPE_CHECKING:
    from panel.viewable import Viewable

__all__ = ["ExplorerState", "ModePairs", "ModelChoice", "explore"]


def explore(what: AppearanceModel | Cohort | ModelChoice, *, modes: int = 6) -> Viewable:
    """Explore a model interactively: a notebook shows the result, elsewhere ``.servable()`` or ``.show()`` serve it.

    Parameters
    ----------
    what
        A model of 2D images; or a cohort of them, to which models with selectable levels of locality are fitted.
    modes
        Number of sliders for the first modes of shape, and of texture.

    Returns
    -------
    panel.viewable.Viewable

    """
    from modelaug.explorer.app import Explorer

    choice: Any = what if isinstance(what, ModelChoice) else ModelChoice(what)
    return Explorer(choice, modes=modes).view()
