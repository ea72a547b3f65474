#!/bin/sh
# Makes demo.ts, the built-in stream of `restreamer --demo`: 6.4 s of test picture and tones that tile without a
# seam.
#
# 6.4 s are 160 frames at 25 Hz and 300 AAC frames of 1024 samples at 48 kHz, so picture and sound end together.
# The tones repeat every 0.8 s; the AAC frames are cut from the middle of a longer run, because an encoder's first
# frames are priming, and so the last frame is followed by the first as it would be by the next.
# GOPs are closed and 0.8 s long, no B frames. One PES packet per frame. The file begins with PAT, PMT, IDR.
#
# usage: make-demo.sh [OUTPUT]   (made with ffmpeg 5.1.9 and its libx264)
set -eu
out=${1:-"$(dirname "$0")/demo.ts"}
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

tones='0.08*sin(2*PI*440*t)+0.3*lt(mod(t\,0.8)\,0.1)*sin(2*PI*880*t)'
ffmpeg -v error -f lavfi -i "aevalsrc=exprs='$tones':sample_rate=48000:duration=19.2" \
    -c:a aac -b:a 64k -ac 1 "$work/long.aac"
ffmpeg -v error -i "$work/long.aac" -c copy -bsf:a "noise=drop='lt(n\,300)+gte(n\,600)'" "$work/sound.aac"

ffmpeg -v error -f lavfi -i "testsrc2=size=640x360:rate=25" -frames:v 160 -pix_fmt yuv420p \
    -c:v libx264 -threads 1 -preset veryslow -profile:v main -b:v 300k -maxrate 500k -bufsize 250k \
    -bf 0 -g 20 -keyint_min 20 -sc_threshold 0 -flags +cgop "$work/picture.h264"

ffmpeg -v error -framerate 25 -i "$work/picture.h264" -i "$work/sound.aac" -map 0:v -map 1:a -c copy \
    -f mpegts -pes_payload_size 0 -pcr_period 20 -pat_period 0.1 -sdt_period 1000 -fflags +bitexact "$work/demo.ts"
# The first packet is the SDT, which nobody needs here.
tail -c +189 "$work/demo.ts" >"$out"
