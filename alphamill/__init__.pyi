from alphamill.notebook.factor import factor as factor
from alphamill.notebook.lake import open_lake as open_lake
from alphamill.notebook.panel import Panel as Panel

__version__: str
