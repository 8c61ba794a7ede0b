import "./style.css";
import { render } from "preact";
import { Console } from "./parts/console";

const root = document.getElementById("console");
if (root) render(<Console />, root);
