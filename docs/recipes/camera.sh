#!/bin/sh
# Sends a frame of a camera to spotter every few seconds, and prints each answer as a line of JSON:
#
#   camera.sh http://192.0.2.20/snapshot.jpg 5 door
#   camera.sh rtsp://192.0.2.20/stream1 5 door
#
# The arguments: the address of the camera, the pause in seconds, and a name, which each task keeps as its metadata.
# `http` and `https` are the address of a still picture; ffmpeg (5 or newer) reads everything else, also /dev/video0 and
# files.
# SPOTTER_API and SPOTTER_API_KEY say where to send it.
set -eu

source=$1
pause=${2:-5}
name=${3:-camera}
case $name in
    *[!A-Za-z0-9._-]*)
        echo "camera.sh: the name may have letters, digits, '.', '_' and '-', got '$name'" >&2
        exit 64 ;;
esac
api=${SPOTTER_API:-http://127.0.0.1:5000}
# A frame that has waited longer is of no use any more.
longest=10

folder=$(mktemp -d)
frame=$folder/$name.jpg
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

grab() {
    case $source in
        http://* | https://*)
            printf 'url = "%s"\n' "$source" |
                curl --config - --silent --show-error --fail --max-time "$longest" --output "$frame" ;;
        rtsp://*)
            decode -rtsp_transport tcp -timeout "${longest}000000" ;;
        *)
            decode ;;
    esac
}

# ffmpeg shows the address, which may have a password.
decode() {
    if ! ffmpeg -nostdin -loglevel error "$@" -i "$source" -frames:v 1 -q:v 2 -update 1 -y "$frame" 2>"$folder/said"; then
        sed 's#//[^/@]*@#//…@#g' "$folder/said" >&2
        return 1
    fi
}

# The key is not an argument of curl, which other users of the machine could read.
authorization() {
    if [ -n "${SPOTTER_API_KEY:-}" ]; then
        printf 'header = "Authorization: Bearer %s"\n' "$SPOTTER_API_KEY"
    fi
}

submit() {
    authorization | curl --config - --silent --show-error --fail-with-body --max-time $((longest + 20)) \
        --header "Prefer: wait=$longest" --form "deadline=$longest" --form "metadata={\"camera\":\"$name\"}" \
        --form "file=@$frame" "$api/v1/tasks"
}

while true; do
    # There is one frame at a time, and none is tried again: the next one is newer. So no backlog grows.
    if ! grab; then
        echo "camera.sh: $name gave no frame" >&2
    elif answer=$(submit); then
        printf '%s\n' "$answer"
    else
        echo "camera.sh: this frame was not processed: $answer" >&2
    fi
    sleep "$pause"
done
