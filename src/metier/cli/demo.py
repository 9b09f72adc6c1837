"""The command that shows the whole line once."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("demo"))
@click.option("--material-only", is_flag=True, help="Fetch the documents and write the recipe, but make nothing.")
def demo(folder: Path, material_only: bool) -> None:
    """Make a SQLite specialist in FOLDER [demo]: fetch its manual, train, examine, export, report.

    About 45 minutes on two cores and 8 GB of memory. Killed at any moment, the same command goes on.

    \b
    Examples:
      metier demo
      metier demo /data/demo --material-only && metier plan -r /data/demo
    """
    from metier.cli.options import DEFAULT_RECIPE, finished, open_recipe, open_workshop
    from metier.core.plan import plan
    from metier.core.step import dependencies_first
    from metier.core.types import Report
    from metier.demo import prepare

    prepare(folder, click.echo)
    if material_only:
        click.echo(f"next: metier plan -r {folder}")
        return
    recipe, shop = open_recipe(folder, ()), open_workshop(folder, None)
    targets = [recipe.step("report")]
    if not plan(shop, targets, recipe.names).to_make:
        click.echo(f"nothing to do: all {len(dependencies_first(targets))} steps of the demo are done")
    shop.make_all(targets, recipe.names)
    page = finished(recipe, shop, Report, "report").folder / "report.html"
    click.echo(f"the report:   {page.absolute()}")
    click.echo(f"its figures:  metier report -r {folder / DEFAULT_RECIPE}")
    click.echo(f"next:         metier serve -r {folder / DEFAULT_RECIPE}")
