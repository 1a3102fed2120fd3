"""Classes, objects and the rig as messages of vision_msgs and tf2_msgs."""

import math
from typing import Any

import numpy as np

from segmif.classes import Taxonomy
from segmif.geometry.cameras import Floats, Rig

from ...schemas.scene_objects import SceneObject, SceneObjects

GEOMETRY = "geometry_msgs/msg"


def label_info(store: Any, header: Any, taxonomy: Taxonomy) -> Any:
    """The names of the class ids as a vision_msgs/LabelInfo."""
    vision_class = store.types["vision_msgs/msg/VisionClass"]
    classes = [vision_class(id, name) for id, name in enumerate(taxonomy.names)]
    # The mask has the most probable class of each pixel, however probable that is.
    return store.types["vision_msgs/msg/LabelInfo"](header, classes, 0.0)


def detections(store: Any, header: Any, objects: SceneObjects) -> Any:
    """The objects of a pair as a vision_msgs/Detection2DArray."""
    found = [_detection(store.types, header, each) for each in objects.found]
    return store.types["vision_msgs/msg/Detection2DArray"](header, found)


def _detection(types: Any, header: Any, found: SceneObject) -> Any:
    left, top, width, height = found.box
    centre = types["vision_msgs/msg/Pose2D"](
        types["vision_msgs/msg/Point2D"](left + width / 2, top + height / 2), 0.0
    )
    score = math.nan if found.confidence is None else found.confidence
    hypothesis = types["vision_msgs/msg/ObjectHypothesisWithPose"](
        types["vision_msgs/msg/ObjectHypothesis"](str(found.id), score), _no_pose(types)
    )
    return types["vision_msgs/msg/Detection2D"](
        header,
        [hypothesis],
        types["vision_msgs/msg/BoundingBox2D"](centre, float(width), float(height)),
        "" if found.track is None else str(found.track),
    )


def _no_pose(types: Any) -> Any:
    pose = types[f"{GEOMETRY}/Pose"](
        types[f"{GEOMETRY}/Point"](0.0, 0.0, 0.0),
        types[f"{GEOMETRY}/Quaternion"](0.0, 0.0, 0.0, 1.0),
    )
    return types[f"{GEOMETRY}/PoseWithCovariance"](pose, np.zeros(36))


def transform(store: Any, header: Any, child: str, rig: Rig) -> Any:
    """
    Where the infrared camera stands in the visible one's frame, as a tf2_msgs/TFMessage.

    `header` names the visible camera's frame, `child` the infrared camera's. ROS takes a point from
    the child's frame to the parent's: the inverse of T_infrared_visible.
    """
    types, (x, y, z) = store.types, rig.infrared_position_m.tolist()
    content = types[f"{GEOMETRY}/Transform"](
        types[f"{GEOMETRY}/Vector3"](x, y, z),
        types[f"{GEOMETRY}/Quaternion"](*quaternion(rig.R.T)),
    )
    stamped = types[f"{GEOMETRY}/TransformStamped"](header, child, content)
    return types["tf2_msgs/msg/TFMessage"]([stamped])


def quaternion(R: Floats) -> tuple[float, float, float, float]:
    """
    A rotation (3, 3) as a unit quaternion x, y, z, w.

    The eigenvector of the largest eigenvalue of a symmetric matrix, which has no special cases
    (Bar-Itzhack, J. Guidance, Control, and Dynamics 23(6), 2000).
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = R.tolist()
    K = np.array(
        [
            [xx - yy - zz, xy + yx, xz + zx, zy - yz],
            [xy + yx, yy - xx - zz, yz + zy, xz - zx],
            [xz + zx, yz + zy, zz - xx - yy, yx - xy],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    _, vectors = np.linalg.eigh(K / 3)
    x, y, z, w = (vectors[:, -1] * np.copysign(1.0, vectors[3, -1])).tolist()
    return x, y, z, w
