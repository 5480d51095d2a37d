"""Rendered people with exact depth and joints: bodies, clothes, scenes, pictures. `render` is the command.

The assets are not part of the repository; nor may their motion files be sold as such. What is made with them
acknowledges: the data used in this project was obtained from mocap.cs.cmu.edu. The database was created with
funding from NSF EIA-0196217.
"""
