"""Keep pages free of scripts that the book does not use.

jupyter-book always adds Thebe, which runs cells on a server elsewhere. The
book offers no such button, and the script names an outside address and stops
with an error on every page (its constants are declared twice), so it is left
out of the pages.
"""


def drop_thebe(app, pagename, templatename, context, doctree):
    """Remove Thebe's scripts from one page before it is written."""
    context["script_files"] = [
        script for script in context.get("script_files", [])
        if "thebe" not in str(getattr(script, "filename", script)).lower()
        and "thebe" not in str(getattr(script, "attributes", {}).get("body", "")).lower()
    ]


def setup(app):
    app.connect("html-page-context", drop_thebe, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
