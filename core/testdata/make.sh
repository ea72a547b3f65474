#!/bin/sh
# Makes the captures in this directory again, with ffmpeg 5.1 (libx264, libx265) and one thread each, so that the
# same version writes the same bytes. Four seconds of a test picture at 25 frames per second, and a tone.
# The tables in ../src/access/tests.rs say where each has its key frames; ffprobe says it too:
#   ffprobe -v error -select_streams v -show_entries packet=pos,flags -of csv=p=0 FILE | grep K
set -eu
cd "$(dirname "$0")"

picture="testsrc2=size=128x96:rate=25:duration=4"
tone="sine=frequency=440:sample_rate=48000:duration=4"

make() {
    file=$1
    shift
    ffmpeg -nostdin -v error -y -f lavfi -i "$picture" -f lavfi -i "$tone" -threads 1 \
        -pix_fmt yuv420p -fflags +bitexact -flags:v +bitexact -flags:a +bitexact \
        -pat_period 0.2 "$@" -f mpegts "$file"
}

mp2="-c:a mp2 -b:a 32k -ac 1"
aac="-c:a aac -b:a 32k -ac 1"
x264="-c:v libx264 -preset fast -crf 40 -x264-params threads=1:scenecut=0:keyint=25:min-keyint=25"
x265="-c:v libx265 -preset fast -crf 42 -x265-params log-level=error:pools=none:frame-threads=1:scenecut=0:keyint=25:min-keyint=25"

# shellcheck disable=SC2086 # the variables hold several words each
{
    make mpeg2_mp2.ts -c:v mpeg2video -g 12 -bf 2 -sc_threshold 1000000000 -qscale:v 28 $mp2
    make mpeg2_ac3.m2ts -c:v mpeg2video -g 12 -bf 2 -sc_threshold 1000000000 -qscale:v 28 -c:a ac3 -b:a 32k -ac 1 -mpegts_m2ts_mode 1
    make h264_idr_aac.ts $x264:open-gop=0 $aac
    make h264_open_gop_aac.ts $x264:open-gop=1:bframes=3 $aac
    make h264_intra_refresh_ac3.ts $x264:intra-refresh=1 -c:a ac3 -b:a 32k -ac 1 -mpegts_flags +system_b
    make hevc_idr_aac.ts $x265:open-gop=0 $aac
    make hevc_cra_eac3.ts $x265:open-gop=1 -c:a eac3 -b:a 32k -ac 1
    make radio_mp2.ts -vn $mp2
    make radio_aac.ts -vn $aac
}
