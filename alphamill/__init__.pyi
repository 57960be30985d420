from alphamill.notebook.factor import factor as factor
from alphamill.notebook.lake import open_lake as open_lake
from alphamill.notebook.panel import Panel as Panel
from alphamill.notebook.run import run as run
from alphamill.notebook.sample import sample_lake as sample_lake

__version__: str
