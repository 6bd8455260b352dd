# reports/labels.gp - a value per label: a point per spec (mean over seeds), those of a label beside
# each other; a bar without a name is the reference of its point. Columns: place, mean, low, high.
# The block behind the last has the names: place, lowest value, name.
data = name . ".dat"
array form[5] = [7, 9, 5, 13, 11]
step = 0.7 / lines
at(x, i) = x + (i - (lines + 1) / 2.0) * step
unset xtics
set xtics rotate by 40 right nomirror out scale 0.6 noenhanced ()
names = "data index series using 1:2:xtic(3) with dots lc rgb '#ffffff' notitle"
marks = series == lines ? "" : ", for [i = lines + 1:series] data index i - 1 " \
    . "using (at($1, i - lines) - step / 2):2:(step):(0) with vectors nohead " \
    . "lc rgb palette[color[i]] lw 2 notitle"
points = ", for [i = 1:lines] data index i - 1 using (at($1, i)):2 with points " \
    . "lc rgb palette[color[i]] pt form[dash[i]] ps size title columnheader(1)"
do for [out in "svg png"] {
    eval out eq "svg" ? svg : png
    set output "../" . name . "." . out
    size = out eq "svg" ? 0.6 : 0.8
    set bmargin (out eq "svg" ? 6.5 : 8)
    eval "plot " . names . marks . points
    unset output
}
