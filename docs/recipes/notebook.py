"""Detect objects from a notebook: Jupyter (with jupytext), VS Code and PyCharm show each `# %%` as a cell."""

# %% One picture
import csv
from pathlib import Path

import spotter

client = spotter.Client()  # the address and the key are in SPOTTER_API and SPOTTER_API_KEY, or arguments
picture = Path("test_images/bus.jpg")
task = client.detect(picture, confidence=0.4)
for found in task.objects:
    print(f"{found.label:10} {found.confidence:.2f}  {found.bbox.x1:6.1f} {found.bbox.y1:6.1f}")

# %% The picture with its boxes: a notebook shows the value of the last line
drawn = spotter.draw(picture, task)
drawn.save("drawn.png")
drawn  # noqa: B018

# %% A folder, as a list of rows
rows = []
pictures = sorted(path for path in Path("test_images").iterdir() if path.suffix in {".jpg", ".png"})
for outcome in client.detect_many(pictures, parallel=8, confidence=0.4):
    if outcome.task is None:
        print(f"{outcome.picture}: {outcome.error}")
        continue
    for found in outcome.task.objects:
        corners = {side: getattr(found.bbox, side) for side in ("x1", "y1", "x2", "y2")}
        rows.append({"picture": outcome.picture.name, "label": found.label, "confidence": found.confidence, **corners})

# %% The rows as a CSV file, or with pandas: pandas.DataFrame(rows).groupby("label").size()
with open("objects.csv", "w", newline="") as file:
    writer = csv.DictWriter(file, fieldnames=["picture", "label", "confidence", "x1", "y1", "x2", "y2"])
    writer.writeheader()
    writer.writerows(rows)
