"""How Sphinx makes the site of the documents: `make docs`, or `sphinx-build -W docs build/site`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import pages  # noqa: E402 - beside this file

import fpstate  # noqa: E402

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "fpstate"
version = release = fpstate.__version__
copyright = "the authors of fpstate, Apache-2.0"  # noqa: A001 - Sphinx's name for it

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 4
default_role = "code"  # `names` in docstrings
highlight_language = "none"  # what commands print
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_class_signature = "separated"
add_module_names = False

html_theme = "furo"
html_title = "fpstate"
html_static_path = ["pictures/site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False


def setup(app: Sphinx) -> None:
    """Write the generated pages before the others are read; without `searched`, in a tenth of the time."""
    app.add_config_value("searched", default=True, rebuild="env", types=[bool])
    app.connect("builder-inited", lambda app: pages.write(HERE / "generated", searched=app.config.searched))
