# Ends what the demo started and removes its folder, whatever became of the demo itself: it reads one word a
# line, and tidies up when the other end of the pipe is closed, by the demo or by its death.
#   started PID   a process to end        ended PID   one that has ended
#   leave         tidy up nothing         spare NAME  keep this entry of the folder
trap '' INT HUP TERM
folder=$1
running=
spared=
while read -r word value; do
    case $word in
    started) running="$running $value" ;;
    ended)
        left=
        for id in $running; do [ "$id" = "$value" ] || left="$left $id"; done
        running=$left
        ;;
    spare) spared=$value ;;
    leave) exit 0 ;;
    esac
done

any_running() {
    for id in $running; do
        kill -0 "$id" 2>/dev/null && return 0
    done
    return 1
}

for id in $running; do kill -s TERM "$id" 2>/dev/null; done
tries=0
while any_running && [ "$tries" -lt 200 ]; do
    sleep 0.05
    tries=$((tries + 1))
done
for id in $running; do kill -s KILL "$id" 2>/dev/null; done

if [ -n "$spared" ]; then
    for entry in "$folder"/* "$folder"/.[!.]*; do
        [ "$entry" = "$folder/$spared" ] || rm -rf -- "$entry"
    done
else
    rm -rf -- "$folder"
fi
