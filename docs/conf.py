"""The manual's settings for Sphinx; `make docs` builds it."""

from importlib.metadata import version as installed_version

project = "Sadik"
author = "The Sadik authors"
version = release = installed_version("sadik-node")
extensions = ["myst_parser"]
root_doc = "docs/index"
exclude_patterns = ["docs/examples/*/tests"]
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
# Lexers for what is no program; a command is shown as it is typed.
highlight_language = "none"
suppress_warnings = ["misc.highlighting_failure"]
html_theme = "alabaster"
html_title = f"Sadik {version}"
html_theme_options = {
    "description": "A key-value store that keeps what it is given.",
    "fixed_sidebar": True,
    "page_width": "1100px",
    "sidebar_width": "260px",
}
html_show_sourcelink = False
