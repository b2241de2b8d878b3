"""The site of the tests for yt-dlp: what youtube_server.py says of a video, in yt-dlp's words."""

from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.utils import ExtractorError


class LoopbackIE(InfoExtractor):
    IE_NAME = "loopback"
    _VALID_URL = r"(?P<base>http://127\.0\.0\.1:\d+)/watch\?v=(?P<id>[\w-]+)"

    def _real_extract(self, url):
        base, video_id = self._match_valid_url(url).group("base", "id")
        page = self._download_json(f"{base}/page/{video_id}", video_id)
        if page.get("countries"):
            self.raise_geo_restricted(page["reason"], page["countries"])
        if page.get("reason"):
            raise ExtractorError(page["reason"], expected=True)
        for form in page["formats"]:
            form["url"] = base + form["url"]
        return {**page, "id": video_id}
