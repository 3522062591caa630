"""Reads a table and plots it: what a first run of code in a sandbox looks like."""

import matplotlib.pyplot as plt
import pandas as pd

rain = pd.read_csv("rainfall.csv")
print(rain.describe())
rain.plot.bar(x="month", y="millimetres", legend=False, title="Lluvia en un año")
plt.ylabel("mm")
plt.show()
