"""Recipes: the typed description of a training run.

A recipe is a YAML file of sections (`sgrnn.config.recipe.Recipe`), each a class whose name ends in ``Config``; a field
left out takes its default. `sgrnn.config.files` reads recipes, `sgrnn.config.build` makes of them what they describe:
recipes end there, and the library's classes take plain keyword arguments.
"""
