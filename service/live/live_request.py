"""What a live rig asks of the network for a pair of its frames."""

from dataclasses import replace

from segmif.thermal.camera_profile import CameraProfile, Cameras
from segmif.wire.media_types import View

from ..scheduler.pair_request import PairRequest
from .load_ladder import Level
from .pair_queue import LivePair, PairQueue
from .raw_pair import raw_frame, stated_of
from .rig_file import RigFile
from .rig_settings import RigSettings


class RequestMaker:
    """Makes the requests of one rig, in the order of its pairs."""

    def __init__(self, settings: RigSettings, rig_file: RigFile, queue: PairQueue) -> None:
        """`queue` says what is known of the clocks."""
        self.options = settings.pair_options()  # what every pair states
        self.client = f"live {settings.name}"
        self._name, self._rig_file, self._queue = settings.name, rig_file, queue
        self._view: tuple[int, int] | None = None  # (H, W) of the visible camera

    def request(
        self,
        pair: LivePair,
        sequence: int,
        level: Level,
        views: tuple[View, ...],
        need_objects: bool,
    ) -> PairRequest:
        """
        The request for a pair: its frames, what they and the rig state, less what `level` spares.

        `views`: numbers that the result must have. `need_objects`: no level spares objects.
        """
        frames = pair.visible, pair.infrared
        if pair.visible:
            self._view = pair.visible.pixels.shape[0], pair.visible.pixels.shape[1]
        stated = stated_of(*frames, self._queue.offset_ns or 0)
        if not level.extras:
            stated |= {"memory": False, "objects": need_objects}
        if views:
            stated["views"] = views
        visible, infrared = map(raw_frame, frames)
        rules = self._rig_file.rules(self._queue.tolerance_ns / 1e6)
        recorded = Cameras(*(frame.profile if frame else CameraProfile() for frame in frames))
        options = self.options.model_copy(update=stated)
        cameras = rules.over_recorded(recorded).cameras_for(options)
        flags = self._rig_file.match.flags(*frames, cameras)
        return PairRequest(
            visible,
            infrared,
            options,
            self.client,
            f"{self._name}-{sequence}",
            rules=replace(rules, view=self._view, find_grey=True, source_flags=flags),
            recorded=recorded,
            half_size=level.half_size,
        )
